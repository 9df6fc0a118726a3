/* Run an exported network from C, and from every language that can call C.

       gb_model *model = gb_open("digits.onnx", 0);
       int64_t numbers = gb_predict(model, images, count, scores, capacity);
       gb_close(model);

   The one idea: five flat functions of pointers and numbers, over onnxruntime's shared library, which is looked for when
   the first model is opened: the variable GLUEBALL_ORT (the library's path) first, then the system's usual names. So
   this compiles without any header or library of onnxruntime. `pip download onnxruntime` is one way to get the library:
   it lies in the wheel as onnxruntime/capi/libonnxruntime.so.*.

   For networks of one float32 input; of several outputs the first is given. Linux and macOS. Every function may be called
   from any thread, and one model may run in several threads at once; gb_close comes after the last of them. */
#ifndef GLUEBALL_PREDICT_H
#define GLUEBALL_PREDICT_H
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gb_model gb_model;

/* Read a model. `threads` limits the threads of one run; 0: the library chooses. NULL: see gb_error. */
gb_model *gb_open(const char *path, int threads);

/* Write the sizes of the input or the output into dims, an open axis as -1, and return the rank (dims may be NULL where
   capacity is 0; no more than capacity sizes are written). -1: see gb_error. */
int gb_input_shape(gb_model *model, int64_t *dims, int capacity);
int gb_output_shape(gb_model *model, int64_t *dims, int capacity);

/* Run the model on an array of float32 in row-major order, write the output, and return how many numbers it has.
   More than `capacity` are an error, and nothing is written. -1: see gb_error. */
int64_t gb_run(gb_model *model, const float *in, const int64_t *dims, int rank, float *out, int64_t capacity);

/* The same for `count` numbers whose sizes are the model's own; the one open axis, if any, follows from `count`. */
int64_t gb_predict(gb_model *model, const float *in, int64_t count, float *out, int64_t capacity);

/* What went wrong in this thread's last call that failed, as text. It is valid until this thread's next failure. */
const char *gb_error(void);

/* Give a model back. NULL is allowed. */
void gb_close(gb_model *model);

#ifdef __cplusplus
}
#endif
#endif
