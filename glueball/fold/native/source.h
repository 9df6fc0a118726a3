/* What an extension was built from, so that one that is older than its sources is not used; see core.py. */
#ifndef GLUEBALL_SOURCE_H
#define GLUEBALL_SOURCE_H
#include <Python.h>

#ifndef GLUEBALL_SOURCE /* setup.py gives a digest */
#define GLUEBALL_SOURCE ""
#endif

static PyObject *source(PyObject *module, PyObject *none)
{
    (void)module;
    (void)none;
    return PyUnicode_FromString(GLUEBALL_SOURCE);
}

#define SOURCE_METHOD {"source", source, METH_NOARGS, "Return the digest of the sources that this was built from."}

#endif
