/* Recording calls: what fold/recording.py does in Python, for the calls whose form has been seen before.

   The one idea: a hit costs a few lookups. A call's form is the tuple of the kinds of its arguments; the tables of forms
   are the twin's own dictionaries, so whatever is unusual (a new form, an array of an unusual class, hooks, mixed
   precision) is given to the twin, and both may record into the same scope in turn. References go to buffers of int64.

   Not here: how objects are read (objects.h), queues and futures (queue.h, append.h), how calls are looked up (blocks.h,
   operators.h, memo.h), values that are waited for (wait.h), flushes in which nothing is new (round.h), what a call means (units.py, operator_calls.py). */
#include "append.h"
#include "blocks.h"
#include "operators.h"
#include "round.h"
#include "source.h"
#include "wait.h"

/* --------------------------------------------------------------------------------------------------- rows of a future */

/* Return future[key] for a plain slice of a value of two or more axes; the Python method does everything else. */
static PyObject *future_item(PyObject *self, PyObject *key)
{
    PyObject *folder = slot(self, in_future.folder), *current = NULL, *kind = slot(self, in_future.kind), *made = NULL;
    long long ref = PyLong_AsLongLong(slot(self, in_future.ref));
    if (ref == -1 && PyErr_Occurred())
        return NULL;
    if (PyContextVar_Get(known.current, NULL, &current) < 0)
        return NULL;
    int here = current == folder && ref >= 0;
    Py_XDECREF(current);
    PyObject *shape = slot(kind, in_kind.shape);
    Py_ssize_t start, stop, step;
    if (!here || !PySlice_Check(key) || PyTuple_GET_SIZE(shape) < 2)
        goto twin;
    if (PySlice_Unpack(key, &start, &stop, &step) < 0)
        return NULL;
    Py_ssize_t size = PyLong_AsSsize_t(PyTuple_GET_ITEM(shape, 0));
    if (step != 1 || size < 0)
        goto twin;
    PyObject *rows = PyLong_FromSsize_t(PySlice_AdjustIndices(size, &start, &stop, 1));
    if (rows == NULL)
        return NULL;
    PyObject *part = PyDict_GetItemWithError(slot(kind, in_kind.parts), rows);
    if (part != NULL)
        Py_INCREF(part);
    else if (!PyErr_Occurred())
        part = PyObject_CallMethodOneArg(kind, name.part, rows);
    Py_DECREF(rows);
    if (part != NULL)
        made = make_future(folder, ref + start, part, known.part);
    Py_XDECREF(part);
    return made;
twin:
    return PyObject_CallFunctionObjArgs(known.item, self, key, NULL);
}

static PyMethodDef item_method = {"__getitem__", future_item, METH_O, "Return future[key]."};
static PyMethodDef scalar_method = {"asscalar", future_asscalar, METH_NOARGS, "Return the only element as a NumPy scalar."};
static PyMethodDef number_method = {"_as_number", future_number, METH_NOARGS,
                                    "Return the only element without making a tensor of it, or None."};
static PyMethodDef call_method = {"__call__", (PyCFunction)(void (*)(void))block_call, METH_FASTCALL,
                                  "Run the block, or record its call where somebody listens."};

/* Put a method of ours in the place of a class's own. */
static int take_over(PyTypeObject *type, PyMethodDef *method)
{
    PyObject *made = PyDescr_NewMethod(type, method);
    int failed = made == NULL || PyObject_SetAttrString((PyObject *)type, method->ml_name, made) < 0;
    Py_XDECREF(made);
    return failed;
}

/* Whether an object of a class is what it is known to be, for future_dealloc: seven slots and weak references. */
static int holds_nothing_else(const PyTypeObject *type)
{
    Py_ssize_t inside = type->tp_weaklistoffset > 0; /* from Python 3.12 on they stand before the object */
    return type->tp_weaklistoffset && !type->tp_dictoffset && type->tp_finalize == NULL && type->tp_del == NULL &&
           type->tp_basicsize == (Py_ssize_t)(sizeof(PyObject) + (7 + (size_t)inside) * sizeof(PyObject *));
}

/* setup(**objects): be told what there is (see recording.py), and take over what loops of a program do most. */
static PyObject *set_up(PyObject *self, PyObject *args, PyObject *objects)
{
    PyObject *done = setup(self, args, objects);
    if (done != NULL && (take_over(known.future, &item_method) || take_over(known.future, &scalar_method) ||
                         take_over(known.future, &number_method) || take_over(known.block, &call_method)))
        Py_CLEAR(done);
    if (done != NULL && holds_nothing_else(known.future))
        known.future->tp_dealloc = future_dealloc; /* the class is final: no other one inherits this */
    return done;
}

/* ------------------------------------------------------------------------------------------------------- the module */

static PyObject *recorder_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    Recorder *self = (Recorder *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    if ((self->queues = PyDict_New()) == NULL || (self->externals = PyDict_New()) == NULL ||
        (self->strangers = PyDict_New()) == NULL || (self->fresh = PyList_New(0)) == NULL ||
        (self->constants = PyDict_New()) == NULL)
        Py_CLEAR(self);
    else
        self->direct = 1;
    return (PyObject *)self;
}

static int recorder_traverse(Recorder *self, visitproc visit, void *arg)
{
    Py_VISIT(self->queues);
    Py_VISIT(self->externals);
    Py_VISIT(self->strangers);
    Py_VISIT(self->fresh);
    Py_VISIT(self->constants);
    Py_VISIT(self->closed);
    return memos_visit(self->memos, visit, arg);
}

static int recorder_clear(Recorder *self)
{
    Py_CLEAR(self->queues);
    Py_CLEAR(self->externals);
    Py_CLEAR(self->strangers);
    Py_CLEAR(self->fresh);
    Py_CLEAR(self->constants);
    Py_CLEAR(self->closed);
    memos_clear(self->memos);
    return 0;
}

static void recorder_dealloc(Recorder *self)
{
    PyObject_GC_UnTrack(self);
    recorder_clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* add(call, refs, children=0): for the twin, which has looked a call up itself. */
static PyObject *recorder_add(PyObject *self, PyObject *const *argv, Py_ssize_t count)
{
    if (count < 2 || count > 3 || Py_TYPE(argv[0]) != known.call || !PyList_Check(argv[1])) {
        PyErr_SetString(PyExc_TypeError, "add(call, list of references, children=0)");
        return NULL;
    }
    Py_ssize_t children = count == 3 ? PyLong_AsSsize_t(argv[2]) : 0;
    if (children == -1 && PyErr_Occurred())
        return NULL;
    Refs refs;
    refs_begin(&refs);
    PyObject *result = NULL;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(argv[1]); i++) {
        long long ref = PyLong_AsLongLong(PyList_GET_ITEM(argv[1], i));
        if ((ref == -1 && PyErr_Occurred()) || refs_push(&refs, ref))
            goto end;
    }
    result = append((Recorder *)self, argv[0], &refs, NULL, children);
end:
    refs_end(&refs);
    return result;
}

/* forget(): the scope has ended, or calls are to be looked up anew. */
static PyObject *recorder_forget(PyObject *self, PyObject *none)
{
    (void)none;
    memos_clear(((Recorder *)self)->memos);
    Py_RETURN_NONE;
}

static PyMethodDef recorder_methods[] = {
    {"call", (PyCFunction)(void (*)(void))recorder_call, METH_FASTCALL, "Record the call of a block."},
    {"invoke", (PyCFunction)(void (*)(void))recorder_invoke, METH_FASTCALL, "Record the call of an operator."},
    {"forget", recorder_forget, METH_NOARGS, "Look calls up anew."},
    {"add", (PyCFunction)(void (*)(void))recorder_add, METH_FASTCALL, "Append a call; return its results as futures."},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef recorder_members[] = {
    {"queues", T_OBJECT_EX, offsetof(Recorder, queues), 0, "signature -> its queue"},
    {"externals", T_OBJECT_EX, offsetof(Recorder, externals), 0, "id -> (reference, kind, array) of arrays from outside"},
    {"strangers", T_OBJECT_EX, offsetof(Recorder, strangers), 0, "the same, of vectors taken element by element"},
    {"fresh", T_OBJECT_EX, offsetof(Recorder, fresh), 0, "those that are not stored in the arenas yet"},
    {"constants", T_OBJECT_EX, offsetof(Recorder, constants), 0, "creation -> (reference, kind) of what it made"},
    {"next", T_LONGLONG, offsetof(Recorder, next), 0, "number of the next value"},
    {"waiting", T_LONGLONG, offsetof(Recorder, waiting), 0, "recorded and not executed calls"},
    {"computed", T_LONGLONG, offsetof(Recorder, computed), 0, "references from here on wait for the next flush"},
    {"closed", T_OBJECT, offsetof(Recorder, closed), 0, "why the scope is no more, or None"},
    {"direct", T_BOOL, offsetof(Recorder, direct), 0, "calls of blocks need not go through the method `call`"},
    {NULL, 0, 0, 0, NULL},
};
static PyTypeObject RecorderType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "glueball.fold._recorder.Recorder",
    .tp_doc = "Records calls of blocks and operators.",
    .tp_basicsize = sizeof(Recorder),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .tp_new = recorder_new,
    .tp_dealloc = (destructor)recorder_dealloc,
    .tp_traverse = (traverseproc)recorder_traverse,
    .tp_clear = (inquiry)recorder_clear,
    .tp_methods = recorder_methods,
    .tp_members = recorder_members,
};

static PyMethodDef module_methods[] = {
    {"setup", (PyCFunction)(void (*)(void))set_up, METH_VARARGS | METH_KEYWORDS, "Be told which objects there are."},
    SOURCE_METHOD,
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_recorder", "The compiled recorder of folding; its twin is recording.py.", -1,
    module_methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__recorder(void)
{
    if (make_names())
        return NULL;
    if ((known.operators = PyDict_New()) == NULL || (known.outside = PyDict_New()) == NULL ||
        (known.small = PyDict_New()) == NULL ||
        PyType_Ready(&IntsType) < 0 || PyType_Ready(&QueueType) < 0 || PyType_Ready(&RecorderType) < 0 ||
        PyType_Ready(&RoundsType) < 0)
        return NULL;
    recorder_type = &RecorderType;
    PyObject *made = PyModule_Create(&module);
    if (made == NULL || PyModule_AddObjectRef(made, "Queue", (PyObject *)&QueueType) < 0 ||
        PyModule_AddObjectRef(made, "Recorder", (PyObject *)&RecorderType) < 0 ||
        PyModule_AddObjectRef(made, "Rounds", (PyObject *)&RoundsType) < 0)
        Py_CLEAR(made);
    return made;
}
