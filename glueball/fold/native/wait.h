/* Numbers that a program reads: a sample that must wait goes straight to the next one that is ready.

   The one idea: what a value read costs is mostly the calls between the user's line and the switch to another greenlet,
   so they are one function here. It does what Future.asscalar, Folder.number, GreenletFiber.wait_for_value and
   GreenletFiber.hand_over do together, where a greenlet of a map reads a value of one element that has not been
   computed; everything else is given to them.

   Not here: who runs when (fiber.py), how values are computed (round.h). */
#ifndef GLUEBALL_WAIT_H
#define GLUEBALL_WAIT_H
#include "append.h"
#include <math.h>

enum { SMALL = 64 };

static int is_number(PyObject *value)
{
    return PyFloat_CheckExact(value) || PyLong_CheckExact(value) || PyBool_Check(value);
}

/* Set torch's grad mode. */
static int set_grad(PyObject *mode)
{
    PyObject *done = PyObject_CallOneArg(known.set_grad, mode);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* Return whom to switch to: the next greenlet that is ready; the hub when there is none, or when it must begin one or
   end one. Between here and the switch no signal is seen, which would lose the fiber. */
static PyObject *next_greenlet(PyObject *fiber, PyObject *hub)
{
    PyObject *ready = slot(hub, in_hub.ready);
    Py_ssize_t count = PyList_GET_SIZE(ready);
    PyObject *next = count && !PyList_GET_SIZE(slot(hub, in_hub.urgent)) ? PyList_GET_ITEM(ready, count - 1) : NULL;
    if (next == NULL || Py_TYPE(next) != known.fiber || slot(next, in_fiber.done) == Py_True)
        return PyObject_GetAttr(slot(fiber, in_fiber.greenlet), name.parent);
    PyObject **running = (PyObject **)((char *)hub + in_hub.running), *before = *running;
    *running = Py_NewRef(next);
    Py_XDECREF(before);
    PyObject *greenlet = Py_NewRef(slot(next, in_fiber.greenlet));
    if (PyList_SetSlice(ready, count - 1, count, NULL))
        Py_CLEAR(greenlet);
    return greenlet;
}

/* Let others run until the hub says so, or raise what stops the fiber; as GreenletFiber.hand_over. */
static int hand_over(PyObject *fiber)
{
    PyObject *hub = slot(fiber, in_fiber.hub), *grad = PyObject_CallNoArgs(known.grad_enabled);
    if (grad == NULL || (grad != slot(hub, in_hub.grad) && set_grad(slot(hub, in_hub.grad)))) {
        Py_XDECREF(grad);
        return -1;
    }
    PyObject *greenlet = next_greenlet(fiber, hub);
    PyObject *done = greenlet == NULL ? NULL : PyObject_CallMethodNoArgs(greenlet, name.switching);
    Py_XDECREF(greenlet);
    int failed = done == NULL;
    Py_XDECREF(done);
    if (!failed && grad != slot(hub, in_hub.grad))
        failed = set_grad(grad);
    Py_DECREF(grad);
    if (!failed && slot(fiber, in_fiber.stop) == Py_True) {
        Py_SETREF(*(PyObject **)((char *)fiber + in_fiber.stop), Py_NewRef(Py_False));
        PyErr_SetNone(known.stop);
        failed = 1;
    }
    return failed ? -1 : 0;
}

/* Wait for a value as the fiber that runs here. 1: done, 0: no fiber of this sort runs here, -1: after an error. */
static int wait_here(PyObject *future, PyObject *fiber)
{
    if (fiber == NULL || Py_TYPE(fiber) != known.fiber || slot(fiber, in_fiber.stopping) != Py_False)
        return 0;
    PyObject *here = PyObject_CallNoArgs(slot(fiber, in_fiber.current));
    if (here == NULL)
        return -1;
    int inside = here == slot(fiber, in_fiber.greenlet);
    Py_DECREF(here);
    if (!inside)
        return 0;
    PyObject *hub = slot(fiber, in_fiber.hub), *demanded = PyTuple_Pack(1, future);
    PyObject *row = demanded == NULL ? NULL : PyTuple_Pack(4, slot(fiber, in_fiber.key), fiber, demanded,
                                                           slot(hub, in_hub.flusher));
    Py_XDECREF(demanded);
    int failed = row == NULL || PyList_Append(slot(hub, in_hub.waiting), row) < 0;
    Py_XDECREF(row);
    return failed || hand_over(fiber) ? -1 : 1;
}

/* Return the only element of a future that has no value yet, or None when there are more; as Folder.number. */
static PyObject *number_of(PyObject *self)
{
    PyObject *folder = slot(self, in_future.folder), *size = slot(slot(self, in_future.kind), in_kind.size);
    long long ref = PyLong_AsLongLong(slot(self, in_future.ref));
    if (ref == -1 && PyErr_Occurred())
        return NULL;
    Recorder *recorder = PyObject_TypeCheck(folder, recorder_type) ? (Recorder *)folder : NULL;
    if (recorder != NULL && ref >= recorder->computed && (recorder->closed == NULL || recorder->closed == Py_None) &&
        PyLong_CheckExact(size) && PyLong_AsLong(size) == 1) {
        PyObject *fiber = NULL;
        if (PyContextVar_Get(known.fiber_here, NULL, &fiber) < 0)
            return NULL;
        int waited = wait_here(self, fiber);
        Py_XDECREF(fiber);
        if (waited < 0)
            return NULL;
        PyObject *value = slot(self, in_future.value);
        if (waited && is_number(value)) /* given in the flush */
            return Py_NewRef(value);
    }
    return PyObject_CallMethodOneArg(folder, name.number, self);
}

/* Return the value of a future where it is known or a number; borrowed. */
static PyObject *value_of(PyObject *self)
{
    PyObject *value = slot(self, in_future.value), *ref = slot(self, in_future.ref);
    if (value == NULL || ref == NULL) {
        PyErr_SetString(PyExc_AttributeError, "an array without a value");
        return NULL;
    }
    if (value != Py_None)
        return value;
    long long number = PyLong_AsLongLong(ref);
    if (number == -1 && PyErr_Occurred())
        return NULL;
    if (number < 0)
        return value;
    if ((value = number_of(self)) != NULL)
        Py_SETREF(*(PyObject **)((char *)self + in_future.value), value);
    return value;
}

static PyObject *future_number(PyObject *self, PyObject *none)
{
    (void)none;
    PyObject *value = value_of(self);
    return value == NULL ? NULL : Py_NewRef(is_number(value) ? value : Py_None);
}

/* Return a number as a scalar of NumPy's. Small whole ones, what programs decide by, are made once per type. */
static PyObject *scalar_of(PyObject *dtype, PyObject *value)
{
    double number = PyFloat_CheckExact(value) ? PyFloat_AS_DOUBLE(value) : -1.0;
    Py_ssize_t whole = number >= 0 && number < SMALL && !signbit(number) ? (Py_ssize_t)number : -1;
    PyObject *row = NULL, *scalar = NULL;
    if (whole >= 0 && (double)whole == number) {
        if ((row = PyDict_GetItemWithError(known.small, dtype)) == NULL) {
            if (PyErr_Occurred() || (row = PyTuple_New(SMALL)) == NULL)
                return NULL;
            int failed = PyDict_SetItem(known.small, dtype, row);
            Py_DECREF(row);
            if (failed)
                return NULL;
        }
        if ((scalar = PyTuple_GET_ITEM(row, whole)) != NULL)
            return Py_NewRef(scalar);
    }
    PyObject *type = PyDict_GetItemWithError(known.scalars, dtype);
    scalar = type == NULL ? NULL : PyObject_CallOneArg(type, value);
    if (row != NULL && scalar != NULL)
        PyTuple_SET_ITEM(row, whole, Py_NewRef(scalar));
    return scalar;
}

static PyObject *future_asscalar(PyObject *self, PyObject *none)
{
    (void)none;
    PyObject *value = value_of(self);
    if (value == NULL)
        return NULL;
    PyObject *scalar = is_number(value) ? scalar_of(slot(slot(self, in_future.kind), in_kind.dtype), value) : NULL;
    return scalar != NULL || PyErr_Occurred() ? scalar : PyObject_CallOneArg(known.asscalar, self);
}

#endif
