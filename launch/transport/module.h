/* What the parts of the binding share: see module.c. */
#ifndef MU_TRANSPORT_MODULE_H
#define MU_TRANSPORT_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <pthread.h>

#include "core.h"

typedef struct {
    PyTypeObject *core_type;
    PyTypeObject *connection_type;
    PyTypeObject *bundle_type;
    PyTypeObject *streams_type, *end_type, *stream_type; /* of links */
} module_state;

typedef struct {
    PyObject_HEAD
    transport_core *core;
    PyTypeObject *made;    /* the type of its connections */
    PyTypeObject *bundle_type;
    PyObject *events;      /* of the turn in progress */
    Py_ssize_t passed;     /* of the events, which come first */
    PyObject *payloads;    /* of the connection that was read last, or NULL */
    connection *reading;
    pthread_t thread;      /* that made it, and serves it */
    unsigned generation;   /* of the process */
} CoreObject;

typedef struct connection_object {
    PyObject_HEAD
    connection *c;    /* NULL once it is lost */
    CoreObject *core; /* not a reference: the core outlives c */
    struct connection_object *passes_to; /* where its bundles are sent at once, if that is open; or NULL */
    char open;
} ConnectionObject;

typedef struct {
    PyObject_HEAD
    bundle *held;
} BundleObject;

/* Whether the core can be used here and now; else there is a Python error. */
bool core_object_usable(const CoreObject *self);

/* Makes the types of links; false: there is a Python error. */
bool add_link_types(PyObject *module, module_state *state);

#endif
