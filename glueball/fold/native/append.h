/* Writing one call down: its references go to the queue of its signature, and futures come back.

   Futures are not tracked by the garbage collector: they are many, and nothing that they lead to leads back to them.
   Memory of those that are let go is kept for the next ones, as the interpreter does for its own small objects.

   Not here: how the call was found (recorder.c). */
#ifndef GLUEBALL_APPEND_H
#define GLUEBALL_APPEND_H
#include "memo.h"
#include "objects.h"
#include "queue.h"

/* -------------------------------------------------------------------------------- references collected for a call */

typedef struct {
    int64_t *data;
    Py_ssize_t size, room;
    int64_t own[64];
} Refs;

static void refs_begin(Refs *refs)
{
    refs->data = refs->own;
    refs->size = 0;
    refs->room = 64;
}

static int refs_push(Refs *refs, int64_t value)
{
    if (refs->size == refs->room) {
        int64_t *data = PyMem_Malloc((size_t)refs->room * 2 * sizeof(int64_t));
        if (data == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        memcpy(data, refs->data, (size_t)refs->size * sizeof(int64_t));
        if (refs->data != refs->own)
            PyMem_Free(refs->data);
        refs->data = data;
        refs->room *= 2;
    }
    refs->data[refs->size++] = value;
    return 0;
}

static void refs_end(Refs *refs)
{
    if (refs->data != refs->own)
        PyMem_Free(refs->data);
}

/* ------------------------------------------------------------------------------------------------- the recorder */

typedef struct {
    PyObject_HEAD
    PyObject *queues, *externals, *strangers, *fresh, *constants, *closed;
    long long next, waiting, computed;
    char direct; /* calls of blocks need not go through the method `call` */
    Memo memos[MEMOS];
} Recorder;

static PyTypeObject *recorder_type;

#if defined(Py_GIL_DISABLED) || defined(Py_TRACE_REFS)
enum { MOST_SPARE = 0 };
#else
enum { MOST_SPARE = 8192 };
#endif
static PyObject *spare[MOST_SPARE + 1]; /* futures that were let go: untracked, their slots empty, their type held */
static Py_ssize_t spares;

/* Let a future go; in the place of the class's own way, which has to find out what there is in it. */
static void future_dealloc(PyObject *self)
{
    PyTypeObject *type = known.future;
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, future_dealloc)
    if (*(PyObject **)((char *)self + type->tp_weaklistoffset) != NULL)
        PyObject_ClearWeakRefs(self);
    PyObject *held[] = {slot(self, in_future.folder), slot(self, in_future.ref), slot(self, in_future.kind),
                        slot(self, in_future.value), slot(self, in_future.state), slot(self, in_future.tensor),
                        slot(self, in_future.ctx)};
    if (spares < MOST_SPARE) {
        memset((char *)self + sizeof(PyObject), 0, (size_t)type->tp_basicsize - sizeof(PyObject));
        spare[spares++] = self;
    } else {
        type->tp_free(self);
        Py_DECREF(type);
    }
    for (size_t i = 0; i < sizeof(held) / sizeof(held[0]); i++)
        Py_XDECREF(held[i]); /* last: what is let go may come back here */
    Py_TRASHCAN_END
}

static PyObject *make_future(PyObject *folder, int64_t ref, PyObject *kind, PyObject *state)
{
    PyObject *number = PyLong_FromLongLong(ref), *made;
    if (number == NULL)
        return NULL;
    if (spares) {
        made = spare[--spares];
        _Py_NewReference(made);
    } else if ((made = known.future->tp_alloc(known.future, 0)) != NULL) {
        PyObject_GC_UnTrack(made);
    } else {
        Py_DECREF(number);
        return NULL;
    }
    fill(made, in_future.folder, folder);
    *(PyObject **)((char *)made + in_future.ref) = number;
    fill(made, in_future.kind, kind);
    fill(made, in_future.value, Py_None);
    fill(made, in_future.state, state);
    return made;
}

/* Return the kind and reference of a future of this scope; 0 when it is none, -1 after an error. */
static inline int own_future(Recorder *self, PyObject *value, PyObject **kind, int64_t *ref)
{
    if (Py_TYPE(value) != known.future || slot(value, in_future.folder) != (PyObject *)self)
        return 0;
    long long number = PyLong_AsLongLong(slot(value, in_future.ref));
    if (number == -1 && PyErr_Occurred())
        return -1;
    *ref = number;
    *kind = slot(value, in_future.kind);
    return number >= 0;
}

/* Put the modes of this moment at the front of a key. */
static int modes(PyObject *key, Py_ssize_t at)
{
    PyObject *recording, *training;
    if (PyContextVar_Get(known.recording, NULL, &recording) < 0)
        return -1;
    PyTuple_SET_ITEM(key, at, recording);
    if (PyContextVar_Get(known.training, NULL, &training) < 0)
        return -1;
    PyTuple_SET_ITEM(key, at + 1, training);
    return 0;
}

/* Return futures put together as a structure says ("*": one of them; else a word and parts), the `next` one first; NULL
   without an error: of another sort. */
static PyObject *put_together(PyObject *structure, PyObject *futures, Py_ssize_t *next)
{
    if (PyUnicode_Check(structure))
        return *next < PyList_GET_SIZE(futures) ? Py_NewRef(PyList_GET_ITEM(futures, (*next)++)) : NULL;
    if (!PyTuple_Check(structure) || PyTuple_GET_SIZE(structure) < 1 || !PyUnicode_Check(PyTuple_GET_ITEM(structure, 0)))
        return NULL;
    PyObject *word = PyTuple_GET_ITEM(structure, 0);
    int tuple = PyUnicode_CompareWithASCIIString(word, "tuple") == 0;
    if (!tuple && PyUnicode_CompareWithASCIIString(word, "list") != 0)
        return NULL;
    Py_ssize_t count = PyTuple_GET_SIZE(structure) - 1;
    PyObject *made = tuple ? PyTuple_New(count) : PyList_New(count);
    for (Py_ssize_t i = 0; made != NULL && i < count; i++) {
        PyObject *part = put_together(PyTuple_GET_ITEM(structure, i + 1), futures, next);
        if (part == NULL)
            Py_CLEAR(made);
        else if (tuple)
            PyTuple_SET_ITEM(made, i, part);
        else
            PyList_SET_ITEM(made, i, part);
    }
    return made;
}

/* Return the results of a call that has got its number: one future, or a list or tuple of them, or what the call's own
   function makes of them. */
static PyObject *results_of(Recorder *self, PyObject *call, int64_t number)
{
    PyObject *kinds = slot(call, in_call.kinds), *structure = slot(call, in_call.structure);
    PyObject **kind = PySequence_Fast_ITEMS(kinds);
    if (structure == Py_None)
        return make_future((PyObject *)self, number << OFFSET, kind[0], Py_None);
    Py_ssize_t count = PySequence_Fast_GET_SIZE(kinds);
    int tuple = PyUnicode_Check(structure) && PyUnicode_CompareWithASCIIString(structure, "tuple") == 0;
    PyObject *made = tuple ? PyTuple_New(count) : PyList_New(count);
    if (made == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *future = make_future((PyObject *)self, (number + i) << OFFSET, kind[i], Py_None);
        if (future == NULL) {
            Py_DECREF(made);
            return NULL;
        }
        if (tuple)
            PyTuple_SET_ITEM(made, i, future);
        else
            PyList_SET_ITEM(made, i, future);
    }
    if (tuple) {
        PyObject_GC_UnTrack(made); /* as the collector itself would: nothing in it is tracked */
        return made;
    }
    if (PyUnicode_Check(structure))
        return made;
    Py_ssize_t next = 0;
    PyObject *together = put_together(structure, made, &next);
    if (together == NULL && !PyErr_Occurred())
        together = PyObject_CallOneArg(slot(call, in_call.together), made);
    Py_DECREF(made);
    return together;
}

/* Append a call to its signature's queue; return its results. */
static PyObject *append(Recorder *self, PyObject *call, const Refs *refs, const Refs *lists, Py_ssize_t children)
{
    PyObject *signature = slot(call, in_call.signature), *kinds = slot(call, in_call.kinds);
    PyObject *found = PyDict_GetItemWithError(self->queues, signature);
    if (found == NULL) {
        if (PyErr_Occurred() || (found = PyObject_CallMethodOneArg((PyObject *)self, name.queue, signature)) == NULL)
            return NULL;
        Py_DECREF(found); /* held by the dictionary of queues */
        found = PyDict_GetItemWithError(self->queues, signature);
    }
    if (found == NULL || Py_TYPE(found) != &QueueType || !(PyList_Check(kinds) || PyTuple_Check(kinds))) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "a call has kinds in a list or tuple, and its signature a queue");
        return NULL;
    }
    Queue *queue = (Queue *)found;
    Py_ssize_t count = refs->size + (lists == NULL ? 0 : lists->size);
    if (ints_reserve(queue->ids, 1) || ints_reserve(queue->refs, count) || ints_reserve(queue->children, 1) ||
        ints_reserve(queue->rows, 1))
        return NULL;
    PyObject *rows = slot(call, in_call.rows);
    long long own_rows = PyLong_AsLongLong(rows);
    if (own_rows == -1 && PyErr_Occurred())
        return NULL;
    int64_t number = self->next;
    queue->ids->data[queue->ids->size++] = number;
    memcpy(queue->refs->data + queue->refs->size, refs->data, (size_t)refs->size * sizeof(int64_t));
    queue->refs->size += refs->size;
    if (lists != NULL) {
        memcpy(queue->refs->data + queue->refs->size, lists->data, (size_t)lists->size * sizeof(int64_t));
        queue->refs->size += lists->size;
    }
    if (children)
        queue->children->data[queue->children->size++] = children;
    if (own_rows || slot(signature, ragged_in_signature) == Py_True)
        queue->rows->data[queue->rows->size++] = own_rows;
    self->next += PySequence_Fast_GET_SIZE(kinds);
    self->waiting++;
    return results_of(self, call, number);
}

#endif
