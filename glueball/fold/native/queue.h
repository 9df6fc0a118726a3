/* Queues of recorded calls: numbers in buffers of int64, which NumPy reads without looking at each.

   Not here: who appends to them (recorder.c). */
#ifndef GLUEBALL_QUEUE_H
#define GLUEBALL_QUEUE_H
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <stdint.h>

/* ---------------------------------------------------------------------------------------------- numbers in a row */

typedef struct {
    PyObject_HEAD
    int64_t *data;
    Py_ssize_t size, room, exports;
} Ints;

static int ints_reserve(Ints *self, Py_ssize_t more)
{
    if (self->size + more <= self->room)
        return 0;
    if (self->exports) {
        PyErr_SetString(PyExc_BufferError, "numbers are being read and cannot grow");
        return -1;
    }
    Py_ssize_t room = self->room * 2 > self->size + more ? self->room * 2 : self->size + more + 32;
    int64_t *data = PyMem_Realloc(self->data, (size_t)room * sizeof(int64_t));
    if (data == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->data = data;
    self->room = room;
    return 0;
}

static void ints_dealloc(Ints *self)
{
    PyMem_Free(self->data);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static Py_ssize_t ints_length(Ints *self) { return self->size; }

static int ints_getbuffer(Ints *self, Py_buffer *view, int flags)
{
    static Py_ssize_t stride = sizeof(int64_t);
    static int64_t nothing;
    if (flags & PyBUF_WRITABLE) {
        PyErr_SetString(PyExc_BufferError, "numbers are read only");
        return -1;
    }
    view->obj = Py_NewRef((PyObject *)self);
    view->buf = self->data == NULL ? &nothing : self->data;
    view->len = self->size * (Py_ssize_t)sizeof(int64_t);
    view->itemsize = sizeof(int64_t);
    view->readonly = 1;
    view->ndim = 1;
    view->format = flags & PyBUF_FORMAT ? "q" : NULL;
    view->shape = flags & PyBUF_ND ? &self->size : NULL; /* stays: nothing grows while it is exported */
    view->strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? &stride : NULL;
    view->suboffsets = NULL;
    view->internal = NULL;
    self->exports++;
    return 0;
}

static void ints_releasebuffer(Ints *self, Py_buffer *view)
{
    (void)view;
    self->exports--;
}

static PySequenceMethods ints_sequence = {.sq_length = (lenfunc)ints_length};
static PyBufferProcs ints_buffer = {(getbufferproc)ints_getbuffer, (releasebufferproc)ints_releasebuffer};
static PyTypeObject IntsType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "glueball.fold._recorder.Ints",
    .tp_doc = "Numbers in a row, to be read through the buffer protocol.",
    .tp_basicsize = sizeof(Ints),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = (destructor)ints_dealloc,
    .tp_as_sequence = &ints_sequence,
    .tp_as_buffer = &ints_buffer,
};

/* ---------------------------------------------------------------------------------------- queues of one signature */

typedef struct {
    PyObject_HEAD
    Ints *ids, *refs, *children, *rows;
    PyObject *blocks;
} Queue;

static PyObject *queue_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    Queue *self = (Queue *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    Ints **fields[] = {&self->ids, &self->refs, &self->children, &self->rows};
    for (int i = 0; i < 4; i++)
        if ((*fields[i] = (Ints *)IntsType.tp_alloc(&IntsType, 0)) == NULL)
            goto failed;
    if ((self->blocks = PyList_New(0)) == NULL)
        goto failed;
    return (PyObject *)self;
failed:
    Py_DECREF(self);
    return NULL;
}

static int queue_traverse(Queue *self, visitproc visit, void *arg)
{
    Py_VISIT(self->blocks);
    return 0;
}

static int queue_clear(Queue *self)
{
    Py_CLEAR(self->ids);
    Py_CLEAR(self->refs);
    Py_CLEAR(self->children);
    Py_CLEAR(self->rows);
    Py_CLEAR(self->blocks);
    return 0;
}

static void queue_dealloc(Queue *self)
{
    PyObject_GC_UnTrack(self);
    queue_clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMemberDef queue_members[] = {
    {"ids", T_OBJECT_EX, offsetof(Queue, ids), READONLY, "numbers of the first results"},
    {"refs", T_OBJECT_EX, offsetof(Queue, refs), READONLY, "references of the arguments, call after call"},
    {"children", T_OBJECT_EX, offsetof(Queue, children), READONLY, "how many children, where there are lists"},
    {"rows", T_OBJECT_EX, offsetof(Queue, rows), READONLY, "rows per sample, where they differ"},
    {"blocks", T_OBJECT_EX, offsetof(Queue, blocks), READONLY, "calls given as arrays"},
    {NULL, 0, 0, 0, NULL},
};
static PyTypeObject QueueType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "glueball.fold._recorder.Queue",
    .tp_doc = "The recorded, not yet executed calls of one signature.",
    .tp_basicsize = sizeof(Queue),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = queue_new,
    .tp_dealloc = (destructor)queue_dealloc,
    .tp_traverse = (traverseproc)queue_traverse,
    .tp_clear = (inquiry)queue_clear,
    .tp_members = queue_members,
};

#endif
