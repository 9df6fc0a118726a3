/* The planner as Python sees it: takes recorded calls, returns their groups; schedule.py is its twin.

   Not here: how groups are found (plan.h), how calls are read (calls.h), rows (placer.c). */
#include "plan.h"
#include "source.h"

/* ------------------------------------------------------------------------------------------------- what is returned */

/* Return, per work, the sizes of its groups. */
static PyObject *sizes_of(const Plan *plan)
{
    PyObject *found = PyList_New(plan->works.count);
    for (Py_ssize_t i = 0; found && i < plan->works.count; i++) {
        PyObject *own = PyList_New(0);
        if (!own) {
            Py_DECREF(found);
            return NULL;
        }
        PyList_SET_ITEM(found, i, own);
    }
    for (Py_ssize_t group = 0; found && group < plan->groups; group++) {
        PyObject *size = PyLong_FromLongLong(plan->sizes[group]);
        int failed = !size || PyList_Append(PyList_GET_ITEM(found, (Py_ssize_t)plan->turns[group]), size) < 0;
        Py_XDECREF(size);
        if (failed) {
            Py_DECREF(found);
            return NULL;
        }
    }
    return found;
}

static PyObject *components_of(const Plan *plan)
{
    PyObject *found = PyList_New(plan->works.count);
    for (Py_ssize_t i = 0; found && i < plan->works.count; i++) {
        PyObject *number = PyLong_FromLong(plan->component[i]);
        if (!number) {
            Py_DECREF(found);
            return NULL;
        }
        PyList_SET_ITEM(found, i, number);
    }
    return found;
}

/* Return, per work, whether it feeds itself through its component. */
static PyObject *recurrent_of(const Plan *plan)
{
    Py_ssize_t count = plan->works.count;
    PyObject *found = PyList_New(count);
    for (Py_ssize_t i = 0; found && i < count; i++)
        PyList_SET_ITEM(found, i, PyBool_FromLong(feeds_itself(plan, i)));
    return found;
}

/* Return, per work and argument, whether its values come from other components. */
static PyObject *outside_of(const Plan *plan)
{
    Py_ssize_t count = plan->works.count;
    PyObject *found = PyList_New(count);
    for (Py_ssize_t i = 0; found && i < count; i++) {
        const Work *work = &plan->works.all[i];
        PyObject *own = PyList_New(work->plain + work->listed);
        if (!own) {
            Py_DECREF(found);
            return NULL;
        }
        PyList_SET_ITEM(found, i, own);
        for (Py_ssize_t argument = 0; argument < work->plain + work->listed; argument++)
            PyList_SET_ITEM(own, argument, PyBool_FromLong(from_outside(plan, i, argument)));
    }
    return found;
}

static PyObject *schedule(PyObject *module, PyObject *arguments)
{
    PyObject *list, *order = NULL, *turns = NULL, *sizes = NULL, *component = NULL, *recurrent = NULL, *outside = NULL;
    PyObject *result = NULL;
    long long values;
    Plan plan = {0};
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OL", &list, &values))
        return NULL;
    if (read_works(list, &plan.works, values) < 0 || prepare(&plan, values) < 0 ||
        !(order = bytes_for(plan.works.calls, &plan.order)))
        goto end;
    connect(&plan);
    if (classify(&plan) < 0 || run_all(&plan) < 0)
        goto end;
    turns = list_of(plan.turns, plan.groups);
    sizes = turns ? sizes_of(&plan) : NULL;
    component = sizes ? components_of(&plan) : NULL;
    recurrent = component ? recurrent_of(&plan) : NULL;
    outside = recurrent ? outside_of(&plan) : NULL;
    if (outside)
        result = PyTuple_Pack(6, order, turns, sizes, component, recurrent, outside);
end:
    drop(&plan);
    Py_XDECREF(order);
    Py_XDECREF(turns);
    Py_XDECREF(sizes);
    Py_XDECREF(component);
    Py_XDECREF(recurrent);
    Py_XDECREF(outside);
    return result;
}

static PyMethodDef methods[] = {
    {"schedule", schedule, METH_VARARGS,
     "schedule(works, values): return (calls of all works in the order they run, work of each group, per work the "
     "sizes of its groups, component, recurrent, outside)."},
    SOURCE_METHOD,
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_planner", "Groups of calls; see planner.c.", -1,
                                        methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__planner(void)
{
    return PyModule_Create(&definition);
}
