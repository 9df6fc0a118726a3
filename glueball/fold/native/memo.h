/* What calls of the last forms came to, for one scope.

   The one idea: nearly every call of a loop has the form of one shortly before. A form is written as the objects that it
   consists of (operator or unit, modes, attributes, kinds); the same objects in the same order mean the same call, so a
   row of pointers is compared, and no key is made and hashed. What is not found here is looked up as ever (blocks.h,
   operators.h) and then noted; objects that are noted are kept, so no other one gets their address.

   Not here: what belongs to a form (blocks.h, operators.h). */
#ifndef GLUEBALL_MEMO_H
#define GLUEBALL_MEMO_H
#include "objects.h"
#include <string.h>

enum { MEMOS = 64, MOST_PARTS = 14 };

typedef struct {
    PyObject *call, *parts[MOST_PARTS];
    Py_ssize_t count;
} Memo;

/* A form as it is being written; `count` beyond MOST_PARTS: too long to be noted. */
typedef struct {
    PyObject *parts[MOST_PARTS]; /* borrowed */
    Py_ssize_t count;
} Parts;

static inline void parts_add(Parts *parts, PyObject *part)
{
    if (parts->count < MOST_PARTS)
        parts->parts[parts->count] = part;
    parts->count++;
}

/* Add the modes of this moment: True or False, which are always there. */
static int parts_add_modes(Parts *parts)
{
    PyObject *variables[] = {known.recording, known.training};
    for (int i = 0; i < 2; i++) {
        PyObject *mode = NULL;
        if (PyContextVar_Get(variables[i], NULL, &mode) < 0)
            return -1;
        parts_add(parts, mode);
        if (mode != Py_True && mode != Py_False)
            parts->count = MOST_PARTS + 1;
        Py_XDECREF(mode);
    }
    return 0;
}

static Memo *memo_place(Memo *memos, const Parts *parts)
{
    uintptr_t sum = (uintptr_t)parts->count;
    for (Py_ssize_t i = 0; i < parts->count; i++)
        sum = sum * 31 + ((uintptr_t)parts->parts[i] >> 4);
    return &memos[(sum ^ sum >> 7) % MEMOS];
}

/* Return the call of a form, borrowed, or NULL. */
static PyObject *memo_find(Memo *memos, const Parts *parts)
{
    if (parts->count > MOST_PARTS)
        return NULL;
    const Memo *memo = memo_place(memos, parts);
    return memo->count == parts->count &&
           !memcmp(memo->parts, parts->parts, (size_t)parts->count * sizeof(PyObject *)) ? memo->call : NULL;
}

static void memo_drop(Memo *memo)
{
    Memo old = *memo;
    memset(memo, 0, sizeof *memo); /* first: what is let go may come back here */
    for (Py_ssize_t i = 0; i < old.count; i++)
        Py_DECREF(old.parts[i]);
    Py_XDECREF(old.call);
}

static void memo_note(Memo *memos, const Parts *parts, PyObject *call)
{
    if (parts->count > MOST_PARTS)
        return;
    Memo made = {.call = Py_NewRef(call), .count = parts->count}, *memo = memo_place(memos, parts);
    for (Py_ssize_t i = 0; i < parts->count; i++)
        made.parts[i] = Py_NewRef(parts->parts[i]);
    memo_drop(memo);
    *memo = made;
}

static void memos_clear(Memo *memos)
{
    for (int i = 0; i < MEMOS; i++)
        memo_drop(&memos[i]);
}

static int memos_visit(Memo *memos, visitproc visit, void *arg)
{
    for (int i = 0; i < MEMOS; i++) {
        Py_VISIT(memos[i].call);
        for (Py_ssize_t j = 0; j < memos[i].count; j++)
            Py_VISIT(memos[i].parts[j]);
    }
    return 0;
}

#endif
