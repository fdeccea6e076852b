/* mu_twisted.launch._launch gives Python the launcher's C half. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <curl/curl.h>

#include "client.h"

typedef struct {
    PyTypeObject *launcher_type;
    PyTypeObject *result_type;
} module_state;

typedef struct {
    PyObject_HEAD
    client *client;
    int busy;
} LauncherObject;

static struct PyModuleDef module_def;

static module_state *state_of_type(PyTypeObject *type)
{
    return PyType_GetModuleState(type);
}

/* -- results --------------------------------------------------------------------------------------------------- */

static PyStructSequence_Field result_fields[] = {
    {"id", "the launch's"},
    {"status", "HTTP status, or NO_ANSWER, CANCELLED, NEVER, UNREACHED"},
    {"reason", "why there is no HTTP status; else empty"},
    {"error_type", "AWS's name of a refusal, or empty"},
    {"retry_after", "seconds that the endpoint asks to wait, or None"},
    {"body", "the first bytes of a refusal's body"},
    {NULL, NULL},
};

static PyStructSequence_Desc result_desc = {
    "mu_twisted.launch._launch.Result",
    "What came of one launch.",
    result_fields,
    3,
};

static PyObject *text_or_empty(const char *text)
{
    return PyUnicode_DecodeUTF8(text ? text : "", text ? (Py_ssize_t)strlen(text) : 0, "replace");
}

static PyObject *result_of(PyTypeObject *type, PyObject *item, const launch_answer *answer)
{
    PyObject *made = PyStructSequence_New(type);
    if (!made)
        return NULL;
    PyStructSequence_SetItem(made, 0, Py_NewRef(PyTuple_GET_ITEM(item, 0)));
    PyStructSequence_SetItem(made, 1, PyLong_FromLong(answer->status));
    PyStructSequence_SetItem(made, 2, text_or_empty(answer->reason));
    PyStructSequence_SetItem(made, 3, text_or_empty(answer->error_type));
    PyStructSequence_SetItem(made, 4, answer->retry_after < 0 ? Py_NewRef(Py_None)
                                                              : PyFloat_FromDouble(answer->retry_after));
    PyStructSequence_SetItem(made, 5, PyBytes_FromStringAndSize(answer->body, (Py_ssize_t)answer->body_size));
    if (PyErr_Occurred())
        Py_CLEAR(made);
    return made;
}

/* -- a batch --------------------------------------------------------------------------------------------------- */

typedef struct {
    PyTypeObject *result_type;
    PyObject *items;  /* a tuple of tuples, which own all that the requests point to */
    PyObject *report; /* or None */
    launch_batch batch;
    size_t reported;
    PyThreadState *thread;
} performance;

static bool read_item(PyObject *item, launch_request *request)
{
    if (!PyTuple_CheckExact(item) || PyTuple_GET_SIZE(item) != 3 || !PyUnicode_Check(PyTuple_GET_ITEM(item, 0)) ||
        !PyUnicode_Check(PyTuple_GET_ITEM(item, 1)) || !PyBytes_Check(PyTuple_GET_ITEM(item, 2))) {
        PyErr_SetString(PyExc_TypeError, "a launch is a tuple (id: str, function: str, payload: bytes)");
        return false;
    }
    Py_ssize_t size;
    request->id = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(item, 0), &size);
    if (!request->id)
        return false;
    request->id_size = (size_t)size;
    for (Py_ssize_t at = 0; at < size; at++)
        if (request->id[at] < ' ' || request->id[at] > '~' || request->id[at] == '"' || request->id[at] == '\\')
            size = 0;
    if (size == 0 || size > 256) {
        PyErr_SetString(PyExc_ValueError, "a launch's id is 1 to 256 printable ASCII characters, no quotes, no \\");
        return false;
    }
    request->function = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(item, 1), &size);
    if (!request->function)
        return false;
    if (strlen(request->function) != (size_t)size) {
        PyErr_SetString(PyExc_ValueError, "a function's name holds a NUL");
        return false;
    }
    request->payload = PyBytes_AS_STRING(PyTuple_GET_ITEM(item, 2));
    request->payload_size = (size_t)PyBytes_GET_SIZE(PyTuple_GET_ITEM(item, 2));
    return true;
}

static bool read_batch(performance *self, PyObject *given)
{
    self->items = PySequence_Tuple(given);
    if (!self->items)
        return false;
    size_t size = (size_t)PyTuple_GET_SIZE(self->items);
    launch_request *requests = PyMem_RawCalloc(size, sizeof *requests);
    self->batch.requests = requests;
    self->batch.answers = PyMem_RawCalloc(size, sizeof *self->batch.answers);
    self->batch.finished = PyMem_RawCalloc(size, sizeof *self->batch.finished);
    if (!requests || !self->batch.answers || !self->batch.finished) {
        PyErr_NoMemory();
        return false;
    }
    self->batch.size = size;
    for (size_t at = 0; at < size; at++)
        if (!read_item(PyTuple_GET_ITEM(self->items, (Py_ssize_t)at), &requests[at]))
            return false;
    return true;
}

static void clear_batch(performance *self)
{
    for (size_t at = 0; self->batch.answers && at < self->batch.size; at++)
        launch_answer_clear(&self->batch.answers[at]);
    PyMem_RawFree((void *)self->batch.requests);
    PyMem_RawFree(self->batch.answers);
    PyMem_RawFree(self->batch.finished);
    Py_CLEAR(self->items);
}

/* A list of the results that are not yet reported. */
static PyObject *take_results(performance *self)
{
    size_t count = self->batch.done - self->reported;
    PyObject *made = PyList_New((Py_ssize_t)count);
    for (size_t at = 0; made && at < count; at++) {
        size_t index = self->batch.finished[self->reported + at];
        PyObject *item = PyTuple_GET_ITEM(self->items, (Py_ssize_t)index);
        PyObject *result = result_of(self->result_type, item, &self->batch.answers[index]);
        launch_answer_clear(&self->batch.answers[index]);
        if (!result)
            Py_CLEAR(made);
        else
            PyList_SET_ITEM(made, (Py_ssize_t)at, result);
    }
    self->reported += count;
    return made;
}

static bool pause_batch(void *context)
{
    performance *self = context;
    PyEval_RestoreThread(self->thread);
    bool going = PyErr_CheckSignals() == 0;
    if (going && self->report != Py_None && self->batch.done > self->reported) {
        PyObject *results = take_results(self);
        PyObject *answer = results ? PyObject_CallOneArg(self->report, results) : NULL;
        going = answer != NULL;
        Py_XDECREF(answer);
        Py_XDECREF(results);
    }
    self->thread = PyEval_SaveThread();
    return going;
}

/* -- credentials ------------------------------------------------------------------------------------------------ */

/* A converter: Python's own error for a text that cannot be encoded contains the text, this one's does not. */
static int read_secret(PyObject *given, void *into)
{
    Py_ssize_t size;
    if (!PyUnicode_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "credentials are texts");
        return 0;
    }
    const char *text = PyUnicode_AsUTF8AndSize(given, &size);
    if (!text || strlen(text) != (size_t)size) {
        PyErr_Clear();
        PyErr_SetString(PyExc_ValueError, "the credentials hold characters that cannot be sent");
        return 0;
    }
    *(const char **)into = text;
    return 1;
}

static int read_token(PyObject *given, void *into)
{
    return given == Py_None || read_secret(given, into);
}

/* -- Launcher -------------------------------------------------------------------------------------------------- */

PyDoc_STRVAR(perform_doc,
             "perform($self, batch, region, access_key, secret_key, token=None, *, report=None)\n--\n\n"
             "Send a batch of (id, function, payload) to a region and wait for all answers, with the GIL released.\n\n"
             "In a payload ##ID## stands for the launch's id. With report, a callable, results are given to it in\n"
             "lists as they come; what is returned are those that it was not given.\n");

static PyObject *launcher_perform(LauncherObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"batch", "region", "access_key", "secret_key", "token", "report", NULL};
    PyObject *given, *results = NULL;
    const char *region;
    credentials keys = {0};
    performance work = {.report = Py_None};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OsO&O&|O&$O:perform", names, &given, &region, read_secret,
                                     &keys.access_key, read_secret, &keys.secret_key, read_token, &keys.token,
                                     &work.report))
        return NULL;
    const char *fault = region_fault(region) ? region_fault(region) : credentials_fault(&keys);
    if (fault) {
        PyErr_SetString(PyExc_ValueError, fault);
        return NULL;
    }
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "this launcher is at work in another thread");
        return NULL;
    }
    self->busy = 1;
    work.result_type = state_of_type(Py_TYPE(self))->result_type;
    if (read_batch(&work, given)) {
        work.thread = PyEval_SaveThread();
        bool done = client_perform(self->client, region, &keys, &work.batch, pause_batch, &work);
        PyEval_RestoreThread(work.thread);
        if (done)
            results = take_results(&work);
        else if (!PyErr_Occurred())
            PyErr_NoMemory();
    }
    self->busy = 0;
    clear_batch(&work);
    return results;
}

PyDoc_STRVAR(cancel_doc,
             "cancel($self, at_once=False)\n--\n\n"
             "Send no more, for good, from any thread: launches that are not yet sent end as cancelled.\n\n"
             "With at_once those in flight are cut off too; Lambda may or may not have taken them.\n");

static PyObject *launcher_cancel(LauncherObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"at_once", NULL};
    int at_once = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|p:cancel", names, &at_once))
        return NULL;
    client_cancel(self->client, at_once);
    Py_RETURN_NONE;
}

static PyObject *launcher_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"endpoint", "ca_bundle",    "pool_size", "connect_timeout",
                            "timeout",  "tail_timeout", "proxy",     NULL};
    client_options options = {.pool_size = 64, .connect_timeout = 5, .timeout = 20, .tail_timeout = 5};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "s|zi$dddz:Launcher", names, &options.endpoint, &options.ca_bundle,
                                     &options.pool_size, &options.connect_timeout, &options.timeout,
                                     &options.tail_timeout, &options.proxy))
        return NULL;
    if (options.pool_size < 1 || options.pool_size > CLIENT_MOST_CONNECTIONS)
        return PyErr_Format(PyExc_ValueError, "pool_size must be 1 to %d, got %d", CLIENT_MOST_CONNECTIONS,
                            options.pool_size);
    if (!(options.connect_timeout >= 0.001 && options.connect_timeout <= 3600 && options.timeout >= 0.001 &&
          options.timeout <= 3600 && options.tail_timeout >= 0.001 && options.tail_timeout <= 3600)) {
        PyErr_SetString(PyExc_ValueError, "time limits must be 0.001 to 3600 seconds");
        return NULL;
    }
    char fault[512];
    client *made = client_new(&options, fault, sizeof fault);
    if (!made) {
        PyErr_SetString(PyExc_ValueError, fault);
        return NULL;
    }
    LauncherObject *self = (LauncherObject *)type->tp_alloc(type, 0);
    if (!self) {
        client_free(made);
        return NULL;
    }
    self->client = made;
    return (PyObject *)self;
}

static void launcher_dealloc(LauncherObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    client *ours = self->client;
    self->client = NULL;
    Py_BEGIN_ALLOW_THREADS /* TLS sends a close notify on each connection */
    client_free(ours);
    Py_END_ALLOW_THREADS
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef launcher_methods[] = {
    {"perform", (PyCFunction)(void (*)(void))launcher_perform, METH_VARARGS | METH_KEYWORDS, perform_doc},
    {"cancel", (PyCFunction)(void (*)(void))launcher_cancel, METH_VARARGS | METH_KEYWORDS, cancel_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(launcher_doc,
             "Launcher(endpoint, ca_bundle=None, pool_size=64, *, connect_timeout=5.0, timeout=20.0, tail_timeout=5.0,"
             " proxy=None)\n--\n\n"
             "Invokes Lambda functions as events at one endpoint, over at most pool_size connections that it keeps.\n\n"
             "Where a batch waits only for launches that take longer than tail_timeout, and than four times the slowest\n"
             "answer, these end without one.\n");

static PyType_Slot launcher_slots[] = {
    {Py_tp_doc, (void *)launcher_doc},
    {Py_tp_new, launcher_new},
    {Py_tp_dealloc, launcher_dealloc},
    {Py_tp_methods, launcher_methods},
    {0, NULL},
};

static PyType_Spec launcher_spec = {
    .name = "mu_twisted.launch._launch.Launcher",
    .basicsize = sizeof(LauncherObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = launcher_slots,
};

/* -- the module ------------------------------------------------------------------------------------------------ */

PyDoc_STRVAR(sign_doc,
             "sign($module, host, path, region, payload, access_key, secret_key, token=None, *, timestamp)\n--\n\n"
             "The headers X-Amz-Date, Authorization and X-Amz-Security-Token that such a launch would be sent with.\n");

static PyObject *sign(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"host",       "path",  "region",    "payload", "access_key",
                            "secret_key", "token", "timestamp", NULL};
    const char *host, *path, *region, *payload;
    Py_ssize_t size;
    long long timestamp = -1;
    credentials keys = {0};
    signer made;
    signature found;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sssy#O&O&|O&$L:sign", names, &host, &path, &region, &payload, &size,
                                     read_secret, &keys.access_key, read_secret, &keys.secret_key, read_token,
                                     &keys.token, &timestamp))
        return NULL;
    const char *fault = region_fault(region) ? region_fault(region) : credentials_fault(&keys);
    if (fault || timestamp < 0) {
        PyErr_SetString(PyExc_ValueError, fault ? fault : "timestamp must be given, in seconds since the epoch");
        return NULL;
    }
    if (!signer_init(&made))
        return PyErr_NoMemory();
    signer_set_region(&made, region);
    bool done = signer_sign(&made, &keys, (time_t)timestamp, host, path, payload, (size_t)size, &found);
    signer_clear(&made);
    if (!done) {
        PyErr_SetString(PyExc_ValueError, "the request could not be signed");
        return NULL;
    }
    PyObject *headers = Py_BuildValue("{ssss}", "X-Amz-Date", found.date, "Authorization", found.authorization);
    PyObject *token = headers && keys.token ? PyUnicode_FromString(keys.token) : NULL;
    if (headers && keys.token && (!token || PyDict_SetItemString(headers, "X-Amz-Security-Token", token) < 0))
        Py_CLEAR(headers);
    Py_XDECREF(token);
    return headers;
}

static int module_exec(PyObject *module)
{
    module_state *state = PyModule_GetState(module);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        PyErr_SetString(PyExc_ImportError, "libcurl cannot be initialised");
        return -1;
    }
    state->launcher_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &launcher_spec, NULL);
    state->result_type = PyStructSequence_NewType(&result_desc);
    if (!state->launcher_type || !state->result_type || PyModule_AddType(module, state->launcher_type) < 0 ||
        PyModule_AddType(module, state->result_type) < 0 ||
        PyModule_AddIntConstant(module, "NO_ANSWER", ANSWER_NONE) < 0 ||
        PyModule_AddIntConstant(module, "CANCELLED", ANSWER_CANCELLED) < 0 ||
        PyModule_AddIntConstant(module, "NEVER", ANSWER_NEVER) < 0 ||
        PyModule_AddIntConstant(module, "UNREACHED", ANSWER_UNREACHED) < 0)
        return -1;
    return 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    module_state *state = PyModule_GetState(module);
    Py_VISIT(state->launcher_type);
    Py_VISIT(state->result_type);
    return 0;
}

static int module_clear(PyObject *module)
{
    module_state *state = PyModule_GetState(module);
    Py_CLEAR(state->launcher_type);
    Py_CLEAR(state->result_type);
    return 0;
}

static void module_free(void *module)
{
    module_clear((PyObject *)module);
}

static PyMethodDef module_methods[] = {
    {"sign", (PyCFunction)(void (*)(void))sign, METH_VARARGS | METH_KEYWORDS, sign_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "mu_twisted.launch._launch",
    .m_doc = "Launches in bulk: signed requests to Lambda over a few kept connections.",
    .m_size = sizeof(module_state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__launch(void)
{
    return PyModuleDef_Init(&module_def);
}
