/* What rounds know: the signatures that have run, where arenas lie, and of which kinds numbers can be read there.

   The one idea: what is the same in all flushes of a scope is written down once, as words and numbers; a flush looks it
   up by the signature. Arenas move when they grow, so where one lies is asked again when its tensor is another one.

   Not here: what a flush does with it (round.h), which signatures are given (rounds.py). */
#ifndef GLUEBALL_FOLD_PREPARED_H
#define GLUEBALL_FOLD_PREPARED_H
#include "append.h"
#include "calls.h"

enum { MOST_READS = 32, MOST_RESULTS = 8, MOST_FORMS = 16 };

/* Words of an environment, as in runner.c, whose `walk` this is. */
enum { E_SIZES = 1, E_GROUP = 2, E_BEGIN = 3, E_MOST = 6, E_TOTAL = 8, E_ROWS = 10, E_ORIGIN = 12, E_ROOTS = 16 };
typedef int (*Walk)(const int64_t *machine, const int64_t *order, int64_t count, const int64_t *environments,
                    int reverse, unsigned char *reached, double *clocks, int64_t *ran);

/* A signature that has run. */
typedef struct {
    PyObject *held;                       /* what its words lead to */
    int64_t *words;                       /* its environment */
    Py_ssize_t plain, outputs, reads, results; /* reads, results: the words of the first ones */
    Py_ssize_t source[MOST_READS], target[MOST_RESULTS]; /* numbers of arenas */
    int64_t scratch;                      /* bytes per call */
    uint64_t calm[MOST_FORMS];            /* arguments from outside of which nothing can run ahead, as bits */
    int forms;
} Prepared;

/* An arena, and where it was seen to lie. */
typedef struct {
    PyObject *arena, *data;
    char *at;
    int64_t room, used;
} Home;

typedef struct {
    PyObject_HEAD
    PyObject *numbers; /* signature -> its number */
    PyObject *codes;   /* kind -> 256 * arena + letter of the type */
    Prepared *prepared;
    Home *homes;
    Py_ssize_t count, places;
    char *scratch;
    size_t size;
    Walk walk;
    const int64_t *machine;
} Rounds;

static void rounds_clear(Rounds *self)
{
    for (Py_ssize_t i = 0; i < self->count; i++)
        Py_CLEAR(self->prepared[i].held);
    self->count = 0;
    if (self->numbers != NULL)
        PyDict_Clear(self->numbers);
}

static void rounds_dealloc(Rounds *self)
{
    rounds_clear(self);
    for (Py_ssize_t i = 0; i < self->places; i++) {
        Py_XDECREF(self->homes[i].arena);
        Py_XDECREF(self->homes[i].data);
    }
    Py_XDECREF(self->numbers);
    Py_XDECREF(self->codes);
    PyMem_Free(self->prepared);
    PyMem_Free(self->homes);
    PyMem_Free(self->scratch);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* Rounds(walker, machine): both are addresses. */
static PyObject *rounds_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    long long walker, machine;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "LL", &walker, &machine))
        return NULL;
    Rounds *self = (Rounds *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->walk = (Walk)(intptr_t)walker;
    self->machine = (const int64_t *)(intptr_t)machine;
    if ((self->numbers = PyDict_New()) == NULL || (self->codes = PyDict_New()) == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

/* Return the number of an arena; -1 after an error. */
static Py_ssize_t home_of(Rounds *self, PyObject *arena)
{
    if (Py_TYPE(arena) != known.arena) {
        PyErr_SetString(PyExc_TypeError, "no arena");
        return -1;
    }
    for (Py_ssize_t i = 0; i < self->places; i++)
        if (self->homes[i].arena == arena)
            return i;
    Home *homes = PyMem_Realloc(self->homes, (size_t)(self->places + 1) * sizeof(Home));
    if (homes == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->homes = homes;
    homes[self->places] = (Home){.arena = Py_NewRef(arena)};
    return self->places++;
}

static int homes_of(Rounds *self, PyObject *arenas, Py_ssize_t *found)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(arenas); i++)
        if ((found[i] = home_of(self, PyTuple_GET_ITEM(arenas, i))) < 0)
            return -1;
    return 0;
}

/* learn(signature, words, held, reads, results, sources, targets, scratch): from now on calls of it can run here.
   words: address of its environment; reads, results: the words of the first of them; sources, targets: their arenas */
static PyObject *rounds_learn(Rounds *self, PyObject *args)
{
    PyObject *signature, *held, *sources, *targets, *number = NULL;
    long long words, scratch;
    Py_ssize_t reads, results;
    if (!PyArg_ParseTuple(args, "OLOnnO!O!L", &signature, &words, &held, &reads, &results, &PyTuple_Type, &sources,
                          &PyTuple_Type, &targets, &scratch))
        return NULL;
    Prepared one = {.words = (int64_t *)(intptr_t)words, .plain = PyTuple_GET_SIZE(sources), .reads = reads,
                    .outputs = PyTuple_GET_SIZE(targets), .results = results, .scratch = scratch};
    if (one.plain > MOST_READS || one.outputs > MOST_RESULTS)
        Py_RETURN_FALSE;
    if (homes_of(self, sources, one.source) || homes_of(self, targets, one.target))
        return NULL;
    Prepared *prepared = PyMem_Realloc(self->prepared, (size_t)(self->count + 1) * sizeof(Prepared));
    if (prepared == NULL)
        return PyErr_NoMemory();
    self->prepared = prepared;
    if ((number = PyLong_FromSsize_t(self->count)) == NULL)
        return NULL;
    int failed = PyDict_SetItem(self->numbers, signature, number);
    Py_DECREF(number);
    if (failed)
        return NULL;
    one.held = Py_NewRef(held);
    prepared[self->count++] = one;
    Py_RETURN_TRUE;
}

/* Return what is known of a signature; NULL where it has not been learned. */
static Prepared *prepared_of(Rounds *self, PyObject *signature)
{
    PyObject *number = PyDict_GetItemWithError(self->numbers, signature);
    return number == NULL ? NULL : &self->prepared[PyLong_AsSsize_t(number)];
}

/* allow(signature, outside): nothing can run ahead where these arguments come from outside of its loop. */
static PyObject *rounds_allow(Rounds *self, PyObject *args)
{
    PyObject *signature;
    unsigned long long outside;
    if (!PyArg_ParseTuple(args, "OK", &signature, &outside))
        return NULL;
    Prepared *found = prepared_of(self, signature);
    if (found != NULL && found->forms < MOST_FORMS)
        found->calm[found->forms++] = outside;
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *rounds_forget(Rounds *self, PyObject *none)
{
    (void)none;
    rounds_clear(self);
    Py_RETURN_NONE;
}

/* Read where an arena lies now. */
static int visit(Home *home)
{
    PyObject *data = slot(home->arena, in_arena.data), *number;
    if (data == home->data)
        return 0;
    int64_t size = PyObject_Size(data);
    if (size < 0 || (number = PyObject_CallMethodNoArgs(data, name.data_ptr)) == NULL)
        return -1;
    home->at = PyLong_AsVoidPtr(number);
    home->room = size;
    Py_DECREF(number);
    Py_XSETREF(home->data, Py_NewRef(data));
    return PyErr_Occurred() ? -1 : 0;
}

/* ---------------------------------------------------------------------------------------------- numbers that are read */

static PyObject *number_at(const Home *home, int64_t row, int letter)
{
    switch (letter) {
    case 'f': return PyFloat_FromDouble(((const float *)(const void *)home->at)[row]);
    case 'd': return PyFloat_FromDouble(((const double *)(const void *)home->at)[row]);
    case 'q': return PyLong_FromLongLong(((const int64_t *)(const void *)home->at)[row]);
    case 'i': return PyLong_FromLong(((const int32_t *)(const void *)home->at)[row]);
    case 'b': return PyLong_FromLong(((const int8_t *)(const void *)home->at)[row]);
    case 'B': return PyLong_FromLong(((const uint8_t *)(const void *)home->at)[row]);
    default: return PyBool_FromLong(((const uint8_t *)(const void *)home->at)[row]);
    }
}

/* read(kind, arena, letter): numbers of a kind lie in an arena; letter: of its type, as in `array`, or "?". */
static PyObject *rounds_read(Rounds *self, PyObject *args)
{
    PyObject *kind, *arena;
    int letter;
    if (!PyArg_ParseTuple(args, "OOC", &kind, &arena, &letter))
        return NULL;
    Py_ssize_t home = home_of(self, arena);
    PyObject *code = home < 0 ? NULL : PyLong_FromSsize_t(home * 256 + letter);
    int failed = code == NULL || PyDict_SetItem(self->codes, kind, code);
    Py_XDECREF(code);
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

/* numbers(futures, rows): give futures of one element their numbers; return those of kinds that nobody told of. */
static PyObject *rounds_numbers(Rounds *self, PyObject *args)
{
    PyObject *futures, *rows, *others = NULL, *last = NULL;
    Numbers table = {0};
    Home *home = NULL;
    int letter = 0;
    if (!PyArg_ParseTuple(args, "O!O", &PyList_Type, &futures, &rows) || numbers(rows, &table, 0) < 0)
        return NULL;
    if ((others = PyList_New(0)) == NULL)
        goto failed;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(futures); i++) {
        PyObject *future = PyList_GET_ITEM(futures, i), *kind = NULL;
        if (Py_TYPE(future) == known.future && slot(future, in_future.value) == Py_None)
            kind = slot(future, in_future.kind);
        if (kind != NULL && kind != last) {
            PyObject *code = PyDict_GetItemWithError(self->codes, kind);
            if (code == NULL && PyErr_Occurred())
                goto failed;
            last = code == NULL ? NULL : kind;
            letter = code == NULL ? 0 : (int)(PyLong_AsSsize_t(code) % 256);
            home = code == NULL ? NULL : &self->homes[PyLong_AsSsize_t(code) / 256];
            if (home != NULL && visit(home))
                goto failed;
        }
        if (kind == NULL || last == NULL) {
            if (PyList_Append(others, future))
                goto failed;
            continue;
        }
        int64_t ref = PyLong_AsLongLong(slot(future, in_future.ref)), value = ref >> OFFSET;
        if (ref < 0)
            continue;
        if (value >= table.count || table.at[value] < 0) {
            wrong("a value that has not been computed");
            goto failed;
        }
        PyObject *number = number_at(home, table.at[value] + (ref & ((1 << OFFSET) - 1)), letter);
        if (number == NULL)
            goto failed;
        Py_XSETREF(*(PyObject **)((char *)future + in_future.value), number);
    }
    release(&table);
    return others;
failed:
    release(&table);
    Py_XDECREF(others);
    return NULL;
}

#endif
