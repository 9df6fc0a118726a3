/* The flat functions of glueball_predict.h over onnxruntime's C interface.

   The one idea: that interface is one table of function pointers which only ever grows at its end, so the places of the few
   that are used here are written down (FUNCTIONS), and version 17 of the table is asked for: every runtime since 1.17 has
   it. Errors are prose, kept per thread. Build: cc -O2 -shared -fPIC -o libglueball_predict.so glueball_predict.c -ldl
   -lpthread

   Not here: what the functions promise (glueball_predict.h). */
#include "glueball_predict.h"
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { API_VERSION = 17, WARNING = 2, FLOAT32 = 1, TENSOR = 1, DEVICE_ALLOCATOR = 0, MOST_AXES = 16 };

/* Place in the table, result, name, arguments. A `void *` result is a status: NULL is success. */
#define FUNCTIONS(F)                                                                                                       \
    F(2, const char *, message_of, (const void *status))                                                                   \
    F(3, void *, create_env, (int level, const char *name, void **env))                                                    \
    F(7, void *, create_session, (void *env, const char *path, void *options, void **session))                             \
    F(9, void *, run,                                                                                                      \
      (void *session, void *options, const char *const *names, void *const *inputs, size_t count,                          \
       const char *const *output_names, size_t output_count, void **outputs))                                              \
    F(10, void *, create_options, (void **options))                                                                        \
    F(24, void *, set_threads, (void *options, int threads))                                                               \
    F(30, void *, input_count, (void *session, size_t *count))                                                             \
    F(33, void *, input_type, (void *session, size_t index, void **type))                                                  \
    F(34, void *, output_type, (void *session, size_t index, void **type))                                                 \
    F(36, void *, input_name, (void *session, size_t index, void *allocator, char **name))                                 \
    F(37, void *, output_name, (void *session, size_t index, void *allocator, char **name))                                \
    F(49, void *, wrap,                                                                                                    \
      (void *memory, void *data, size_t bytes, const int64_t *dims, size_t rank, int type, void **value))                  \
    F(51, void *, data_of, (void *value, void **data))                                                                     \
    F(55, void *, as_tensor, (const void *type, const void **info))                                                        \
    F(56, void *, kind_of, (const void *type, int *kind))                                                                  \
    F(60, void *, element_type, (const void *info, int *type))                                                             \
    F(61, void *, rank_of, (const void *info, size_t *rank))                                                               \
    F(62, void *, sizes_of, (const void *info, int64_t *dims, size_t capacity))                                            \
    F(64, void *, count_of, (const void *info, size_t *count))                                                             \
    F(65, void *, info_of, (void *value, void **info))                                                                     \
    F(69, void *, cpu_memory, (int allocator, int kind, void **memory))                                                    \
    F(76, void *, free_text, (void *allocator, void *text))                                                                \
    F(78, void *, allocator, (void **allocator))                                                                           \
    F(93, void, release_status, (void *status))                                                                            \
    F(94, void, release_memory, (void *memory))                                                                            \
    F(95, void, release_session, (void *session))                                                                          \
    F(96, void, release_value, (void *value))                                                                              \
    F(98, void, release_type, (void *type))                                                                                \
    F(99, void, release_info, (void *info))                                                                                \
    F(100, void, release_options, (void *options))

#define DECLARE(place, result, name, arguments) result(*name) arguments;
#define FILL(place, result, name, arguments) memcpy(&ort.name, table + (place), sizeof ort.name);

typedef struct {
    const void *const *(*get_api)(uint32_t version);
    const char *(*version)(void);
} ApiBase;

struct gb_model {
    void *session, *memory, *allocator;
    char *input, *output; /* names */
    int input_rank, output_rank;
    int64_t input_dims[MOST_AXES], output_dims[MOST_AXES];
};

static struct {
    FUNCTIONS(DECLARE)
} ort;
static void *environment; /* one per process; it stays */
static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local char message[2048];

const char *gb_error(void) { return message; }

static void explain(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
}

/* Is this status a failure? Then its text is kept. */
static int failed(const char *where, void *status)
{
    if (!status)
        return 0;
    explain("%s: onnxruntime says: %s", where, ort.message_of(status));
    ort.release_status(status);
    return 1;
}

static const char *shape_text(const int64_t *dims, int rank, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "(");
    for (int axis = 0; axis < rank && used < size; axis++) {
        const char *comma = axis + 1 < rank ? ", " : rank == 1 ? "," : "";
        used += dims[axis] < 0 ? (size_t)snprintf(text + used, size - used, "any%s", comma)
                               : (size_t)snprintf(text + used, size - used, "%lld%s", (long long)dims[axis], comma);
    }
    if (used < size)
        snprintf(text + used, size - used, ")");
    return text;
}

static void *open_library(void)
{
    static const char *const usual[] = {"libonnxruntime.so.1", "libonnxruntime.so", "libonnxruntime.1.dylib",
                                        "libonnxruntime.dylib"};
    const char *named = getenv("GLUEBALL_ORT");
    char tried[1200] = "";
    for (int i = 0; i < (named && *named ? 1 : 4); i++) {
        const char *name = named && *named ? named : usual[i];
        void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
        if (library)
            return library;
        size_t used = strlen(tried);
        snprintf(tried + used, sizeof tried - used, "\n    %s", dlerror());
    }
    explain("gb_open: The library of onnxruntime cannot be loaded.\n  Expected: %s\n  Received:%s\n  Fix: get it (pip install "
            "onnxruntime; or a release of onnxruntime; or your system's libonnxruntime) and set GLUEBALL_ORT to its path, "
            "which for the Python package is what this prints:\n    python3 -c \"import glob, onnxruntime as o; "
            "print(*glob.glob(o.__path__[0] + '/capi/libonnxruntime.*[0-9]*'))\"",
            named && *named ? "the library that the variable GLUEBALL_ORT names" : "one of the system's usual names", tried);
    return NULL;
}

/* Load the library and make its environment, once; after a failure the next call tries again. */
static int load(void)
{
    pthread_mutex_lock(&loading);
    void *library = environment ? NULL : open_library();
    if (library) {
        ApiBase *(*get_base)(void) = NULL;
        void *symbol = dlsym(library, "OrtGetApiBase");
        memcpy(&get_base, &symbol, sizeof get_base);
        const void *const *table = symbol ? get_base()->get_api(API_VERSION) : NULL;
        if (table) {
            FUNCTIONS(FILL)
            failed("gb_open", ort.create_env(WARNING, "glueball", &environment));
        } else {
            explain("gb_open: This library is no onnxruntime that can be used.\n  Expected: onnxruntime 1.17 or later\n"
                    "  Received: %s\n  Fix: name another one in the variable GLUEBALL_ORT",
                    symbol ? get_base()->version() : "a library without OrtGetApiBase");
            dlclose(library);
        }
    }
    int ready = environment != NULL;
    pthread_mutex_unlock(&loading);
    return ready;
}

/* Read kind and sizes of input or output 0; float32 is all that is taken. */
static int describe(void *type, const char *what, const char *name, int64_t *dims, int *rank)
{
    const void *info = NULL;
    size_t axes = 0;
    int kind = 0, element = 0, bad = failed("gb_open", ort.kind_of(type, &kind));
    if (!bad && kind == TENSOR)
        bad = failed("gb_open", ort.as_tensor(type, &info)) || failed("gb_open", ort.element_type(info, &element)) ||
              failed("gb_open", ort.rank_of(info, &axes));
    if (!bad && (element != FLOAT32 || axes > MOST_AXES)) {
        explain("gb_open: The model's %s \"%s\" is of another type.\n  Expected: an array of float32 with at most %d axes\n"
                "  Received: ONNX element type %d, %zu axes\n  Fix: use onnxruntime's own interface for this model",
                what, name, MOST_AXES, element, axes);
        bad = 1;
    }
    *rank = (int)axes;
    return bad || failed("gb_open", ort.sizes_of(info, dims, axes));
}

static int read_model(gb_model *model, const char *path, void *options, int threads)
{
    void *in = NULL, *out = NULL;
    size_t inputs = 0;
    int bad = (threads > 0 && failed("gb_open", ort.set_threads(options, threads))) ||
              failed("gb_open", ort.create_session(environment, path, options, &model->session)) ||
              failed("gb_open", ort.input_count(model->session, &inputs));
    if (!bad && inputs != 1) {
        explain("gb_open: The model has several inputs, or none.\n  Expected: 1 input\n  Received: %zu\n"
                "  Fix: use onnxruntime's own interface for this model",
                inputs);
        bad = 1;
    }
    bad = bad || failed("gb_open", ort.allocator(&model->allocator)) ||
          failed("gb_open", ort.cpu_memory(DEVICE_ALLOCATOR, 0, &model->memory)) ||
          failed("gb_open", ort.input_name(model->session, 0, model->allocator, &model->input)) ||
          failed("gb_open", ort.output_name(model->session, 0, model->allocator, &model->output)) ||
          failed("gb_open", ort.input_type(model->session, 0, &in)) ||
          failed("gb_open", ort.output_type(model->session, 0, &out)) ||
          describe(in, "input", model->input, model->input_dims, &model->input_rank) ||
          describe(out, "output", model->output, model->output_dims, &model->output_rank);
    if (in)
        ort.release_type(in);
    if (out)
        ort.release_type(out);
    return bad;
}

gb_model *gb_open(const char *path, int threads)
{
    FILE *file = path ? fopen(path, "rb") : NULL;
    if (!file) {
        explain("gb_open: The model cannot be read.\n  Expected: an ONNX file, as net.export(\"model\", format=\"onnx\") writes\n"
                "  Received: %s (%s)\n  Fix: check the path and where the program runs",
                path ? path : "no path", path ? strerror(errno) : "NULL");
        return NULL;
    }
    fclose(file);
    if (!load())
        return NULL;
    void *options = NULL;
    gb_model *model = calloc(1, sizeof *model);
    if (!model)
        explain("gb_open: There is no memory left.");
    else if (failed("gb_open", ort.create_options(&options)) || read_model(model, path, options, threads)) {
        gb_close(model);
        model = NULL;
    }
    if (options)
        ort.release_options(options);
    return model;
}

static int shape(gb_model *model, const char *where, int is_input, int64_t *dims, int capacity)
{
    if (!model) {
        explain("%s: There is no model.\n  Expected: what gb_open gave\n  Received: NULL\n  Fix: look at gb_error after gb_open",
                where);
        return -1;
    }
    int rank = is_input ? model->input_rank : model->output_rank;
    for (int axis = 0; axis < rank && axis < capacity; axis++)
        dims[axis] = (is_input ? model->input_dims : model->output_dims)[axis];
    return rank;
}

int gb_input_shape(gb_model *model, int64_t *dims, int capacity)
{
    return shape(model, "gb_input_shape", 1, dims, capacity);
}

int gb_output_shape(gb_model *model, int64_t *dims, int capacity)
{
    return shape(model, "gb_output_shape", 0, dims, capacity);
}

/* How many numbers an input of these sizes has; -1: the model does not take them. */
static int64_t checked_count(gb_model *model, const int64_t *dims, int rank)
{
    char wanted[400], given[400];
    int fits = rank == model->input_rank && (dims || !rank);
    int64_t count = 1;
    for (int axis = 0; fits && axis < rank; axis++) {
        int64_t size = dims[axis], fixed = model->input_dims[axis];
        fits = size >= 0 && (fixed < 0 || size == fixed) && (!size || count <= INT64_MAX / 8 / size);
        count *= fits ? size : 1;
    }
    if (fits)
        return count;
    int shown = !dims || rank < 0 ? 0 : rank < MOST_AXES ? rank : MOST_AXES;
    explain("gb_run: The input has another shape than the model's.\n  Expected: %d axes, %s\n  Received: %d axes, %s\n"
            "  Fix: give the sizes in the order of the network's input",
            model->input_rank, shape_text(model->input_dims, model->input_rank, wanted, sizeof wanted), rank,
            shape_text(dims, shown, given, sizeof given));
    return -1;
}

/* Copy the output out and return how many numbers it has. */
static int64_t deliver(void *value, float *out, int64_t capacity)
{
    void *info = NULL, *data = NULL;
    size_t count = 0;
    int bad = failed("gb_run", ort.info_of(value, &info)) || failed("gb_run", ort.count_of(info, &count)) ||
              failed("gb_run", ort.data_of(value, &data));
    if (info)
        ort.release_info(info);
    if (!bad && ((int64_t)count > capacity || (count && !out))) {
        explain("gb_run: The output does not fit.\n  Expected: room for %zu numbers\n  Received: room for %lld\n"
                "  Fix: make the array larger (gb_output_shape tells the sizes)",
                count, (long long)(out ? capacity : 0));
        bad = 1;
    }
    if (!bad && count)
        memcpy(out, data, count * sizeof(float));
    return bad ? -1 : (int64_t)count;
}

int64_t gb_run(gb_model *model, const float *in, const int64_t *dims, int rank, float *out, int64_t capacity)
{
    int64_t count = shape(model, "gb_run", 1, NULL, 0) < 0 ? -1 : checked_count(model, dims, rank);
    if (count < 0)
        return -1;
    if (count && !in) {
        explain("gb_run: There is no input.\n  Expected: %lld numbers\n  Received: NULL", (long long)count);
        return -1;
    }
    void *input = NULL, *output = NULL;
    const char *in_names[] = {model->input}, *out_names[] = {model->output};
    int bad = failed("gb_run", ort.wrap(model->memory, (void *)in, (size_t)count * sizeof(float), dims, (size_t)rank, FLOAT32,
                                        &input)) ||
              failed("gb_run", ort.run(model->session, NULL, in_names, &input, 1, out_names, 1, &output));
    int64_t written = bad ? -1 : deliver(output, out, capacity);
    if (output)
        ort.release_value(output);
    if (input)
        ort.release_value(input);
    return written;
}

int64_t gb_predict(gb_model *model, const float *in, int64_t count, float *out, int64_t capacity)
{
    int64_t dims[MOST_AXES] = {0}, rest = 1;
    int rank = shape(model, "gb_predict", 1, dims, MOST_AXES), open = -1, several = 0;
    if (rank < 0)
        return -1;
    for (int axis = 0; axis < rank; axis++)
        if (dims[axis] >= 0)
            rest *= dims[axis];
        else {
            several |= open >= 0;
            open = axis;
        }
    if (several || count < 0 || (open < 0 ? count != rest : !rest || count % rest)) {
        char wanted[400];
        explain("gb_predict: The number of values does not fit the model's input.\n  Expected: %s%lld for the shape %s\n"
                "  Received: %lld\n  Fix: %s",
                open < 0 ? "" : "a multiple of ", (long long)rest, shape_text(dims, rank, wanted, sizeof wanted),
                (long long)count, several ? "give the sizes to gb_run: several axes are open" : "give whole samples");
        return -1;
    }
    if (open >= 0)
        dims[open] = count / rest;
    return gb_run(model, in, dims, rank, out, capacity);
}

void gb_close(gb_model *model)
{
    if (!model)
        return;
    if (model->input)
        failed("gb_close", ort.free_text(model->allocator, model->input));
    if (model->output)
        failed("gb_close", ort.free_text(model->allocator, model->output));
    if (model->memory)
        ort.release_memory(model->memory);
    if (model->session)
        ort.release_session(model->session);
    free(model);
}
