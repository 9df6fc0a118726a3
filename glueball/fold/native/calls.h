/* Recorded calls as planner.c and placer.c read them: arrays of int64, straight from what Work holds.

   The one idea: a call's references lie together, first those of single arguments and then list after list of children;
   calls that came as arrays (arrays.py) have their lists apart. Both are read by pointer, nothing is copied.

   Everything is checked once, here: sizes fit each other, values have numbers that can be. */
#ifndef GLUEBALL_FOLD_CALLS_H
#define GLUEBALL_FOLD_CALLS_H
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define OFFSET 24 /* future.py: a reference is number << OFFSET | row */

typedef struct {
    Py_buffer view;
    int64_t *at;
    Py_ssize_t count;
} Numbers;

typedef struct {
    Numbers ids, refs, children, rows;
    Numbers *lists;      /* per list, the children of all calls; NULL: they are among refs */
    int64_t *before;     /* how many children the calls before have; NULL: there are no lists */
    Py_ssize_t count, plain, listed, outputs;
    Py_ssize_t first;    /* the number of its first call through all works */
    Py_ssize_t argument; /* the number of its first argument through all works */
} Work;

typedef struct {
    Work *all;
    Py_ssize_t count, calls, arguments, references;
} Works;

static void *room(Py_ssize_t count, size_t size)
{
    void *found = PyMem_Calloc(count > 0 ? (size_t)count : 1, size);
    if (!found)
        PyErr_NoMemory();
    return found;
}

static int wrong(const char *what)
{
    PyErr_Format(PyExc_ValueError, "recorded calls do not fit together: %s", what);
    return -1;
}

/* Read an array of int64; None is an empty one. */
static int numbers(PyObject *from, Numbers *found, int writable)
{
    if (from == Py_None)
        return 0;
    if (PyObject_GetBuffer(from, &found->view, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0)
        return -1;
    found->at = found->view.buf;
    found->count = found->view.len / (Py_ssize_t)sizeof(int64_t);
    if (found->view.len % (Py_ssize_t)sizeof(int64_t) || (uintptr_t)found->at % sizeof(int64_t))
        return wrong("no array of int64");
    return 0;
}

static void release(Numbers *held)
{
    if (held->view.obj)
        PyBuffer_Release(&held->view);
}

static void forget(Works *works)
{
    for (Py_ssize_t i = 0; works->all && i < works->count; i++) {
        Work *work = &works->all[i];
        release(&work->ids);
        release(&work->refs);
        release(&work->children);
        release(&work->rows);
        for (Py_ssize_t j = 0; work->lists && j < work->listed; j++)
            release(&work->lists[j]);
        PyMem_Free(work->lists);
        PyMem_Free(work->before);
    }
    PyMem_Free(works->all);
    works->all = NULL;
}

/* Read the children of a work's calls. */
static int read_children(Work *work, PyObject *lists)
{
    int64_t total = 0;
    if (work->children.count != work->count)
        return wrong("a number of children per call");
    if (!(work->before = room(work->count + 1, sizeof(int64_t))))
        return -1;
    for (Py_ssize_t call = 0; call < work->count; call++) {
        int64_t some = work->children.at[call];
        if (some < 0 || some > INT32_MAX)
            return wrong("how many children");
        work->before[call] = total;
        total += some;
    }
    work->before[work->count] = total;
    if (lists == Py_None)
        return work->refs.count == work->plain * work->count + work->listed * total ? 0 : wrong("references");
    if (!PyTuple_Check(lists) || PyTuple_GET_SIZE(lists) != work->listed)
        return wrong("lists");
    if (!(work->lists = room(work->listed, sizeof(Numbers))))
        return -1;
    for (Py_ssize_t j = 0; j < work->listed; j++) {
        if (numbers(PyTuple_GET_ITEM(lists, j), &work->lists[j], 0) < 0)
            return -1;
        if (work->lists[j].count != total)
            return wrong("references of a list");
    }
    return work->refs.count == work->plain * work->count ? 0 : wrong("references");
}

/* Read one work: (ids, refs, children, lists, rows, plain, listed, outputs); see Work.parts in execute.py. */
static int read_work(PyObject *from, Work *work, int64_t values)
{
    PyObject *ids, *refs, *children, *lists, *rows;
    if (!PyTuple_Check(from))
        return wrong("no tuple");
    if (!PyArg_ParseTuple(from, "OOOOOnnn", &ids, &refs, &children, &lists, &rows, &work->plain, &work->listed,
                          &work->outputs))
        return -1;
    if (numbers(ids, &work->ids, 0) < 0 || numbers(refs, &work->refs, 0) < 0 ||
        numbers(children, &work->children, 0) < 0 || numbers(rows, &work->rows, 0) < 0)
        return -1;
    work->count = work->ids.count;
    if (work->plain < 0 || work->listed < 0 || work->outputs < 0)
        return wrong("less than nothing");
    for (Py_ssize_t call = 0; call < work->count; call++)
        if (work->ids.at[call] < 0 || work->ids.at[call] > values - work->outputs ||
            (call && work->ids.at[call] < work->ids.at[0]))
            return wrong("numbers of results");
    if (rows != Py_None && work->rows.count != work->count)
        return wrong("rows per call");
    if (work->listed)
        return read_children(work, lists);
    return work->refs.count == work->plain * work->count ? 0 : wrong("references");
}

static inline int read_works(PyObject *list, Works *works, int64_t values)
{
    if (!PyList_Check(list))
        return wrong("no list of works");
    works->count = PyList_GET_SIZE(list);
    if (!(works->all = room(works->count, sizeof(Work))))
        return -1;
    for (Py_ssize_t i = 0; i < works->count; i++) {
        Work *work = &works->all[i];
        if (read_work(PyList_GET_ITEM(list, i), work, values) < 0)
            return -1;
        work->first = works->calls;
        work->argument = works->arguments;
        works->calls += work->count;
        works->arguments += work->plain + work->listed;
        works->references += work->refs.count;
        for (Py_ssize_t j = 0; work->lists && j < work->listed; j++)
            works->references += work->lists[j].count;
    }
    return 0;
}

/* Return where the references of an argument of a call are, and how many: one, or its children. */
static inline const int64_t *references(const Work *work, Py_ssize_t call, Py_ssize_t argument, Py_ssize_t *count)
{
    if (!work->listed) {
        *count = 1;
        return work->refs.at + call * work->plain + argument;
    }
    if (argument < work->plain) {
        *count = 1;
        return work->refs.at + call * work->plain + argument + (work->lists ? 0 : work->listed * work->before[call]);
    }
    *count = (Py_ssize_t)work->children.at[call];
    if (work->lists)
        return work->lists[argument - work->plain].at + work->before[call];
    return work->refs.at + (call + 1) * work->plain + work->listed * work->before[call] +
           (argument - work->plain) * *count;
}

/* Return count zeroed bytes of an object that Python frees, for numbers. */
static inline PyObject *bytes_for(Py_ssize_t count, int64_t **at)
{
    PyObject *found = PyByteArray_FromStringAndSize(NULL, count * (Py_ssize_t)sizeof(int64_t));
    if (found) {
        *at = (int64_t *)(void *)PyByteArray_AS_STRING(found);
        memset(*at, 0, (size_t)count * sizeof(int64_t));
    }
    return found;
}

static inline PyObject *list_of(const int64_t *from, Py_ssize_t count)
{
    PyObject *found = PyList_New(count);
    for (Py_ssize_t i = 0; found && i < count; i++) {
        PyObject *number = PyLong_FromLongLong(from[i]);
        if (!number) {
            Py_DECREF(found);
            return NULL;
        }
        PyList_SET_ITEM(found, i, number);
    }
    return found;
}

#endif
