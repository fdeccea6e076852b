/* mu_twisted.transport._core gives Python the transport's core: see core.h, and mu_twisted/transport/_core.pyi.
 *
 * A connection's object is held by the core from its handshake to its end, so a receiver need not hold it. Nothing of
 * Python runs inside a turn, not even the collection of garbage: what a turn brings is a list, which Python goes through
 * afterwards. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <arpa/inet.h>
#include <string.h>

#include "module.h"
#include "tls.h"

/* Counts the forks that lead to this process: its threads are not there, and its connections are another's. */
static unsigned generation;
static pthread_once_t count_forks_once = PTHREAD_ONCE_INIT;

static void count_fork(void)
{
    generation++;
}

static void count_forks(void)
{
    (void)pthread_atfork(NULL, NULL, count_fork);
}

bool core_object_usable(const CoreObject *self)
{
    if (!self->core)
        PyErr_SetString(PyExc_RuntimeError, "the core is closed");
    else if (self->generation != generation)
        PyErr_SetString(PyExc_RuntimeError, "the core belongs to the process that made it, and this is a fork of it");
    else if (!pthread_equal(self->thread, pthread_self()))
        PyErr_SetString(PyExc_RuntimeError, "the core belongs to the thread that made it, and this is another");
    else
        return true;
    return false;
}

/* -- what a turn brings --------------------------------------------------------------------------------------------- */

static PyObject *address_of(const peer_address *peer)
{
    char host[INET6_ADDRSTRLEN] = "";
    int port = 0;
    if (peer->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &peer->v4.sin_addr, host, sizeof host);
        port = ntohs(peer->v4.sin_port);
    } else if (peer->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &peer->v6.sin6_addr, host, sizeof host);
        port = ntohs(peer->v6.sin6_port);
    }
    return Py_BuildValue("(si)", host, port);
}

/* (kind, code, text); the text is the header's bytes, or the limit, where that is at fault. */
static PyObject *failure_of(const failure *why, const frame_reader *reader)
{
    if (why->kind == FAILURE_MALFORMED)
        return Py_BuildValue("(iLy#)", (int)why->kind, (long long)0, reader->header, (Py_ssize_t)reader->filled);
    if (why->kind == FAILURE_TOO_LONG)
        return Py_BuildValue("(iLN)", (int)why->kind, (long long)why->code,
                             PyBytes_FromFormat("%lu", (unsigned long)reader->limit));
    return Py_BuildValue("(iLy)", (int)why->kind, (long long)why->code, why->text ? why->text : "");
}

enum { PASSED_TOGETHER = 16 };
enum { EVENT_FRAMES, EVENT_BUNDLE, EVENT_PASSED, EVENT_NOTES, EVENT_ESTABLISHED, EVENT_LOST, EVENT_DROPPED, EVENT_COUNTED };

/* Steals what; no event is lost but where there is no memory, which ends the turn with that error. */
static void insert_event(CoreObject *self, Py_ssize_t at, int kind, PyObject *subject, PyObject *what)
{
    PyObject *event = what ? Py_BuildValue("(iON)", kind, subject, what) : NULL;
    if (event)
        (void)PyList_Insert(self->events, at, event);
    Py_XDECREF(event);
}

static void add_event(CoreObject *self, int kind, PyObject *subject, PyObject *what)
{
    insert_event(self, PyList_GET_SIZE(self->events), kind, subject, what);
}

static PyObject *certificate_of(const connection *c)
{
    unsigned char *der = NULL;
    const size_t size = core_certificate(c, &der);
    if (!size)
        Py_RETURN_NONE;
    PyObject *made = PyBytes_FromStringAndSize((const char *)der, (Py_ssize_t)size);
    OPENSSL_free(der);
    return made;
}

static void on_established(void *context, connection *c)
{
    CoreObject *self = context;
    ConnectionObject *made = (ConnectionObject *)self->made->tp_alloc(self->made, 0);
    c->user = made;
    self->reading = NULL;
    if (!made)
        return;
    made->c = c;
    made->core = self;
    add_event(self, EVENT_ESTABLISHED, (PyObject *)made, Py_BuildValue("(NN)", address_of(&c->peer), certificate_of(c)));
}

static bool on_frame(void *context, connection *c, const char *payload, size_t size)
{
    CoreObject *self = context;
    if (!c->user)
        return false;
    if (self->reading != c) {
        self->reading = c;
        self->payloads = PyList_New(0);
        add_event(self, EVENT_FRAMES, c->user, Py_XNewRef(self->payloads));
        Py_XDECREF(self->payloads); /* the event holds it */
        if (PyErr_Occurred())
            self->payloads = NULL;
    }
    PyObject *bytes = PyBytes_FromStringAndSize(payload, (Py_ssize_t)size);
    if (bytes && self->payloads)
        (void)PyList_Append(self->payloads, bytes);
    Py_XDECREF(bytes);
    return true;
}

static connection *on_route(void *context, connection *c)
{
    (void)context;
    const ConnectionObject *user = c->user, *to = user ? user->passes_to : NULL;
    return to && to->open ? to->c : NULL;
}

static void on_bundled(void *context, connection *c, bundle *taken, connection *passed_to)
{
    CoreObject *self = context;
    self->reading = NULL;
    if (!c->user)
        return;
    BundleObject *made = (BundleObject *)self->bundle_type->tp_alloc(self->bundle_type, 0);
    if (made)
        made->held = bundle_hold(taken);
    if (passed_to) /* it was sent before all that Python sends, which hears of it first, so that it knows the order */
        insert_event(self, self->passed++, EVENT_PASSED, c->user,
                     made ? Py_BuildValue("(NO)", made, passed_to->user) : NULL);
    else
        add_event(self, EVENT_BUNDLE, c->user, (PyObject *)made);
}

static void on_noted(void *context, connection *c, unsigned notes)
{
    CoreObject *self = context;
    ConnectionObject *user = c->user;
    const unsigned others = notes & ~(unsigned)NOTE_LOST;
    self->reading = NULL;
    if (!user)
        return;
    if (others)
        add_event(self, EVENT_NOTES, (PyObject *)user, PyLong_FromUnsignedLong(others));
    if (notes & NOTE_LOST) {
        PyObject *in_frame = connection_pending(c) ? Py_True : Py_False;
        add_event(self, EVENT_LOST, (PyObject *)user, Py_BuildValue("(NO)", failure_of(&c->why, &c->reader), in_frame));
        user->c = NULL;
        user->core = NULL;
        c->user = NULL;
        Py_DECREF(user);
    }
}

static void on_dropped(void *context, const report *what)
{
    CoreObject *self = context;
    static const frame_reader none;
    self->reading = NULL;
    add_event(self, EVENT_DROPPED, Py_None, Py_BuildValue("(NN)", address_of(&what->peer), failure_of(&what->why, &none)));
}

static void on_counted(void *context, unsigned unreported, unsigned room_wanted)
{
    CoreObject *self = context;
    self->reading = NULL;
    add_event(self, EVENT_COUNTED, Py_None, Py_BuildValue("(II)", unreported, room_wanted));
}

static const core_sink sink = {
    .established = on_established,
    .frame = on_frame,
    .bundled = on_bundled,
    .route = on_route,
    .noted = on_noted,
    .dropped = on_dropped,
    .counted = on_counted,
};

/* The events of core_turn or core_end. A collection of garbage could run anything, and so call the core again. */
static PyObject *events_of(CoreObject *self, void (*act)(transport_core *, const core_sink *, void *))
{
    PyObject *events = self->events = PyList_New(0);
    self->passed = 0;
    if (!events)
        return NULL;
    const int collecting = PyGC_Disable();
    act(self->core, &sink, self);
    if (collecting)
        PyGC_Enable();
    self->events = NULL;
    self->reading = NULL;
    if (PyErr_Occurred())
        Py_CLEAR(events);
    return events;
}

/* -- Core ----------------------------------------------------------------------------------------------------------- */

PyDoc_STRVAR(listen_doc, "listen($self, descriptor, /)\n--\n\nStart the threads, which accept connections there.\n");

static PyObject *core_object_listen(CoreObject *self, PyObject *given)
{
    const char *fault;
    const int descriptor = PyObject_AsFileDescriptor(given);
    if (descriptor < 0 || !core_object_usable(self))
        return NULL;
    if (!core_listen(self->core, descriptor, &fault)) {
        PyErr_SetString(PyExc_OSError, fault);
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stop_listening_doc, "stop_listening($self, /)\n--\n\n"
                                 "End the threads, with the handshakes that are in progress.\n");

static PyObject *core_object_stop_listening(CoreObject *self, PyObject *Py_UNUSED(none))
{
    if (!core_object_usable(self))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    core_stop_listening(self->core);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

/* As long as all that comes is passed on, nothing waits until Python has heard of it, and Python hears of some together. */
static void take_turn(transport_core *core, const core_sink *of, void *context)
{
    CoreObject *self = context;
    Py_ssize_t before = 0;
    core_turn(core, of, context, false);
    while (self->passed > before && self->passed == PyList_GET_SIZE(self->events) && self->passed < PASSED_TOGETHER &&
           !PyErr_Occurred()) {
        before = self->passed;
        core_turn(core, of, context, true);
    }
}

PyDoc_STRVAR(turn_doc, "turn($self, /)\n--\n\nRead what there is; return what happened, in order: first what was passed on.\n");

static PyObject *core_object_turn(CoreObject *self, PyObject *Py_UNUSED(none))
{
    return core_object_usable(self) ? events_of(self, take_turn) : NULL;
}

PyDoc_STRVAR(flush_doc, "flush($self, /)\n--\n\nSend what the turn has left to be sent.\n");

static PyObject *core_object_flush(CoreObject *self, PyObject *Py_UNUSED(none))
{
    if (!core_object_usable(self))
        return NULL;
    core_flush(self->core);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\n"
                        "End the threads and all connections; return what happened. It can be called again.\n");

static PyObject *core_object_close(CoreObject *self, PyObject *Py_UNUSED(none))
{
    if (!self->core)
        return PyList_New(0);
    if (!core_object_usable(self))
        return NULL;
    PyObject *events = events_of(self, core_end);
    core_free(self->core);
    self->core = NULL;
    return events;
}

PyDoc_STRVAR(fileno_doc, "fileno($self, /)\n--\n\nThe descriptor that is readable when a turn is due; -1 once closed.\n");

static PyObject *core_object_fileno(CoreObject *self, PyObject *Py_UNUSED(none))
{
    return PyLong_FromLong(self->core ? core_descriptor(self->core) : -1);
}

PyDoc_STRVAR(set_time_doc, "set_time($self, seconds, /)\n--\n\nFor tests, with manual_clock: it is that time for handshakes now.\n");

static PyObject *core_object_set_time(CoreObject *self, PyObject *given)
{
    const double seconds = PyFloat_AsDouble(given);
    if (PyErr_Occurred() || !core_object_usable(self))
        return NULL;
    pool_set_time(core_pool(self->core), seconds);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(idle_doc, "idle($self, /)\n--\n\nFor tests: whether no thread has anything to do, and none has done.\n");

static PyObject *core_object_idle(CoreObject *self, PyObject *Py_UNUSED(none))
{
    return PyBool_FromLong(!self->core || pool_idle(core_pool(self->core)));
}

static PyObject *core_object_connections(CoreObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(self->core ? pool_connections(core_pool(self->core)) : 0);
}

static PyObject *core_object_handshakes(CoreObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(self->core ? pool_handshakes(core_pool(self->core)) : 0);
}

static bool read_options(PyObject *args, PyObject *kwargs, PyTypeObject *base, tls_bytes pem[3], PyTypeObject **made,
                         pool_options *options, Py_ssize_t *max_unsent)
{
    static char *names[] = {"certificate",   "key",        "authorities", "connection_type", "threads",
                            "max_handshakes", "max_connections", "room", "handshake_timeout", "stall_timeout",
                            "max_frame",     "max_unsent", "manual_clock",   NULL};
    Py_ssize_t sizes[3];
    unsigned long long max_frame = 0;
    int manual_clock = 0;
    *max_unsent = -1; /* what was not given is refused below */
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y#y#y#O!|$IIIIddKnp:Core", names, &pem[0].data, &sizes[0],
                                     &pem[1].data, &sizes[1], &pem[2].data, &sizes[2], &PyType_Type, made,
                                     &options->threads, &options->max_handshakes, &options->max_connections,
                                     &options->room, &options->handshake_timeout, &options->stall_timeout, &max_frame,
                                     max_unsent, &manual_clock))
        return false;
    for (int at = 0; at < 3; at++)
        pem[at].size = (size_t)sizes[at];
    options->max_frame = max_frame;
    options->manual_clock = manual_clock;
    if (options->threads < 1 || options->threads > POOL_MOST_THREADS)
        PyErr_Format(PyExc_ValueError, "threads must be 1 to %d, got %u", POOL_MOST_THREADS, options->threads);
    else if (options->max_handshakes < 1)
        PyErr_SetString(PyExc_ValueError, "max_handshakes must be 1 at least");
    else if (!(options->handshake_timeout > 0 && options->handshake_timeout < 1e6) ||
             !(options->stall_timeout > 0 && options->stall_timeout < 1e6))
        PyErr_SetString(PyExc_ValueError, "a timeout must be above 0 and below 1e6 seconds");
    else if (*max_unsent < 0)
        PyErr_SetString(PyExc_ValueError, "max_unsent must be 0 at least");
    else if (!PyType_IsSubtype(*made, base))
        PyErr_SetString(PyExc_TypeError, "connection_type must be a subclass of Connection");
    else
        return true;
    return false;
}

static PyObject *core_object_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    module_state *state = PyType_GetModuleState(type);
    tls_bytes pem[3];
    pool_options options = {0};
    PyTypeObject *made;
    Py_ssize_t max_unsent;
    const char *fault;
    if (!read_options(args, kwargs, state->connection_type, pem, &made, &options, &max_unsent))
        return NULL;
    CoreObject *self = (CoreObject *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    SSL_CTX *context = tls_server_context(pem[0], pem[1], pem[2], &fault);
    self->core = context ? core_new(context, &options, (size_t)max_unsent, &fault) : NULL;
    if (!self->core) {
        Py_DECREF(self);
        PyErr_SetString(PyExc_ValueError, fault);
        return NULL;
    }
    pthread_once(&count_forks_once, count_forks);
    self->made = (PyTypeObject *)Py_NewRef(made);
    self->bundle_type = (PyTypeObject *)Py_NewRef(state->bundle_type);
    self->thread = pthread_self();
    self->generation = generation;
    return (PyObject *)self;
}

static void core_object_dealloc(CoreObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    /* In a fork there is nothing to be ended: threads and connections are the other process's. */
    if (self->core && self->generation == generation) {
        PyObject *kind, *value, *trace;
        PyErr_Fetch(&kind, &value, &trace);
        Py_XDECREF(events_of(self, core_end));
        PyErr_Restore(kind, value, trace);
        core_free(self->core);
    }
    Py_XDECREF(self->made);
    Py_XDECREF(self->bundle_type);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyMethodDef core_methods[] = {
    {"listen", (PyCFunction)core_object_listen, METH_O, listen_doc},
    {"stop_listening", (PyCFunction)core_object_stop_listening, METH_NOARGS, stop_listening_doc},
    {"turn", (PyCFunction)core_object_turn, METH_NOARGS, turn_doc},
    {"flush", (PyCFunction)core_object_flush, METH_NOARGS, flush_doc},
    {"close", (PyCFunction)core_object_close, METH_NOARGS, close_doc},
    {"fileno", (PyCFunction)core_object_fileno, METH_NOARGS, fileno_doc},
    {"set_time", (PyCFunction)core_object_set_time, METH_O, set_time_doc},
    {"idle", (PyCFunction)core_object_idle, METH_NOARGS, idle_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef core_members[] = {
    {"connections", (getter)core_object_connections, NULL, "how many there are, in any state", NULL},
    {"handshakes", (getter)core_object_handshakes, NULL, "how many of them are in progress", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot core_slots[] = {
    {Py_tp_doc, "The listening side of a transport: mutual TLS on threads, frames in turns."},
    {Py_tp_new, core_object_new},
    {Py_tp_dealloc, core_object_dealloc},
    {Py_tp_methods, core_methods},
    {Py_tp_getset, core_members},
    {0, NULL},
};

static PyType_Spec core_spec = {
    .name = "mu_twisted.transport._core.Core",
    .basicsize = sizeof(CoreObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = core_slots,
};

/* -- Connection ----------------------------------------------------------------------------------------------------- */

/* Sends, and leaves it to Python what is to be done where the peer takes no more: pace(), so that a producer is paused
 * before it sends more; or where it has taken nothing for long: refused(unsent). */
static PyObject *judge_sent(ConnectionObject *self, send_outcome outcome)
{
    switch (outcome) {
    case SEND_TAKEN:
        if (self->c->blocked && self->c->watched) /* it may have become so by what was passed on */
            return PyObject_CallMethod((PyObject *)self, "pace", NULL);
        Py_RETURN_NONE;
    case SEND_REFUSED:
        return PyObject_CallMethod((PyObject *)self, "refused", "n", (Py_ssize_t)connection_unsent(self->c));
    default:
        core_abort(self->c); /* half a frame may have been added */
        return PyErr_NoMemory();
    }
}

static PyObject *send_all(ConnectionObject *self, const core_payload *payloads, size_t count, bool framed)
{
    return judge_sent(self, core_send(self->c, payloads, count, framed));
}

/* The bundle that a view is of, or NULL. */
static bundle *bundle_of(const CoreObject *core, PyObject *given)
{
    if (PyMemoryView_Check(given))
        given = PyMemoryView_GET_BASE(given);
    return given && Py_IS_TYPE(given, core->bundle_type) ? ((BundleObject *)given)->held : NULL;
}

PyDoc_STRVAR(send_doc, "send($self, /, *payloads)\n--\n\nSend each as a frame; nothing, once the connection is lost.\n");

static PyObject *connection_object_send(ConnectionObject *self, PyObject *const *args, Py_ssize_t count)
{
    enum { FEW = 16 };
    core_payload few[FEW], *payloads = few;
    if (!self->c || count == 0)
        Py_RETURN_NONE;
    if (!core_object_usable(self->core))
        return NULL;
    if (count > FEW && !(payloads = PyMem_New(core_payload, (size_t)count)))
        return PyErr_NoMemory();
    PyObject *sent = NULL;
    Py_ssize_t at = 0;
    for (; at < count && PyBytes_Check(args[at]); at++)
        payloads[at] = (core_payload){PyBytes_AS_STRING(args[at]), (size_t)PyBytes_GET_SIZE(args[at])};
    if (at == count)
        sent = send_all(self, payloads, (size_t)count, true);
    else
        PyErr_Format(PyExc_TypeError, "a payload is bytes, not %.100s", Py_TYPE(args[at])->tp_name);
    if (payloads != few)
        PyMem_Free(payloads);
    return sent;
}

PyDoc_STRVAR(write_doc, "write($self, data, /)\n--\n\n"
                        "Send bytes of frames that are encoded already; those of a bundle are not copied.\n");

static PyObject *connection_object_write(ConnectionObject *self, PyObject *given)
{
    Py_buffer view;
    if (!self->c)
        Py_RETURN_NONE;
    if (!core_object_usable(self->core) || PyObject_GetBuffer(given, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    const core_payload data = {view.buf, (size_t)view.len};
    bundle *of = bundle_of(self->core, given);
    PyObject *sent = of ? judge_sent(self, core_send_bundle(self->c, of, view.buf, (size_t)view.len))
                        : send_all(self, &data, 1, false);
    PyBuffer_Release(&view);
    return sent;
}

PyDoc_STRVAR(finish_doc, "finish($self, /)\n--\n\nSend what is to be sent, then the end; drop what comes.\n");

static PyObject *connection_object_finish(ConnectionObject *self, PyObject *Py_UNUSED(none))
{
    if (self->c && !core_object_usable(self->core))
        return NULL;
    if (self->c)
        core_finish(self->c);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(cut_doc, "cut($self, /)\n--\n\nEnd the connection at once; that it is lost comes with the next turn.\n");

static PyObject *connection_object_cut(ConnectionObject *self, PyObject *Py_UNUSED(none))
{
    if (self->c && !core_object_usable(self->core))
        return NULL;
    if (self->c)
        core_abort(self->c);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(read_doc, "read($self, wanted, /)\n--\n\nRead from the peer, or do not for now.\n");

static PyObject *connection_object_read(ConnectionObject *self, PyObject *given)
{
    const int wanted = PyObject_IsTrue(given);
    if (wanted < 0 || (self->c && !core_object_usable(self->core)))
        return NULL;
    if (self->c)
        core_pause(self->c, !wanted);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(read_at_once_doc, "read_at_once($self, size, /)\n--\n\nRead so many bytes in one turn at most.\n");

static PyObject *connection_object_read_at_once(ConnectionObject *self, PyObject *given)
{
    const Py_ssize_t size = PyLong_AsSsize_t(given);
    if ((size < 0 && PyErr_Occurred()) || (self->c && !core_object_usable(self->core)))
        return NULL;
    if (self->c)
        core_read_at_once(self->c, size < 0 ? 0 : (size_t)size);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(bundle_doc, "bundle($self, /)\n--\n\nHave what comes given in bundles from now on.\n");

static PyObject *connection_object_bundle(ConnectionObject *self, PyObject *Py_UNUSED(none))
{
    if (self->c && !core_object_usable(self->core))
        return NULL;
    if (self->c)
        core_bundle(self->c);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(pass_on_doc, "pass_on($self, to, /)\n--\n\n"
                          "Have its bundles sent to a connection, while that is open, in the turn that brings them.\n\n"
                          "None: no more; so it must be called once the connection is lost.\n");

static PyObject *connection_object_pass_on(ConnectionObject *self, PyObject *given)
{
    ConnectionObject *to = NULL;
    if (self->c && !core_object_usable(self->core))
        return NULL;
    if (given != Py_None) {
        PyTypeObject *type = self->core ? self->core->made : NULL;
        if (type && !PyObject_TypeCheck(given, type))
            return PyErr_Format(PyExc_TypeError, "expected a connection, got %.100s", Py_TYPE(given)->tp_name);
        if (type)
            to = (ConnectionObject *)Py_NewRef(given);
    }
    Py_XSETREF(self->passes_to, to);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(watch_doc, "watch($self, wanted, /)\n--\n\nNote when the peer takes no more, and when it has taken all.\n");

static PyObject *connection_object_watch(ConnectionObject *self, PyObject *given)
{
    const int wanted = PyObject_IsTrue(given);
    if (wanted < 0 || (self->c && !core_object_usable(self->core)))
        return NULL;
    if (self->c)
        core_watch(self->c, wanted);
    Py_RETURN_NONE;
}

static PyObject *connection_object_pending(ConnectionObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(self->c ? connection_pending(self->c) : 0);
}

static PyObject *connection_object_announced(ConnectionObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(self->c ? connection_announced(self->c) : 0);
}

static PyObject *connection_object_unsent(ConnectionObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(self->c ? connection_unsent(self->c) : 0);
}

static PyObject *connection_object_blocked(ConnectionObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->c && self->c->blocked);
}

static PyObject *connection_object_max_frame(ConnectionObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(self->c ? self->c->reader.limit : 0);
}

static int connection_object_set_max_frame(ConnectionObject *self, PyObject *given, void *Py_UNUSED(closure))
{
    if (!given) {
        PyErr_SetString(PyExc_TypeError, "max_frame cannot be deleted");
        return -1;
    }
    const unsigned long long limit = PyLong_AsUnsignedLongLong(given);
    if (PyErr_Occurred() || (self->c && !core_object_usable(self->core)))
        return -1;
    if (self->c)
        self->c->reader.limit = limit;
    return 0;
}

static PyObject *connection_object_is_open(ConnectionObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->open);
}

static int connection_object_set_open(ConnectionObject *self, PyObject *given, void *Py_UNUSED(closure))
{
    const int open = given ? PyObject_IsTrue(given) : 0;
    if (open >= 0)
        self->open = (char)open;
    return open < 0 ? -1 : 0;
}

static void connection_object_dealloc(ConnectionObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(self->passes_to);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyMethodDef connection_methods[] = {
    {"send", (PyCFunction)(void (*)(void))connection_object_send, METH_FASTCALL, send_doc},
    {"write", (PyCFunction)connection_object_write, METH_O, write_doc},
    {"finish", (PyCFunction)connection_object_finish, METH_NOARGS, finish_doc},
    {"cut", (PyCFunction)connection_object_cut, METH_NOARGS, cut_doc},
    {"read", (PyCFunction)connection_object_read, METH_O, read_doc},
    {"bundle", (PyCFunction)connection_object_bundle, METH_NOARGS, bundle_doc},
    {"read_at_once", (PyCFunction)connection_object_read_at_once, METH_O, read_at_once_doc},
    {"pass_on", (PyCFunction)connection_object_pass_on, METH_O, pass_on_doc},
    {"watch", (PyCFunction)connection_object_watch, METH_O, watch_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef connection_members[] = {
    {"pending", (getter)connection_object_pending, NULL, "bytes of an incomplete frame, its header included", NULL},
    {"announced", (getter)connection_object_announced, NULL, "size of the payload in the making, or 0", NULL},
    {"unsent", (getter)connection_object_unsent, NULL, "bytes that are yet to be sent", NULL},
    {"blocked", (getter)connection_object_blocked, NULL, "whether the peer takes no more for now", NULL},
    {"max_frame", (getter)connection_object_max_frame, (setter)connection_object_set_max_frame,
     "largest payload accepted, bytes; a change holds from the next header on", NULL},
    {"open", (getter)connection_object_is_open, (setter)connection_object_set_open,
     "whether bundles of others may be sent to it at once", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot connection_slots[] = {
    {Py_tp_doc, "One connection; made by a Core, as the subclass that it was given."},
    {Py_tp_dealloc, connection_object_dealloc},
    {Py_tp_methods, connection_methods},
    {Py_tp_getset, connection_members},
    {0, NULL},
};

static PyType_Spec connection_spec = {
    .name = "mu_twisted.transport._core.Connection",
    .basicsize = sizeof(ConnectionObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = connection_slots,
};

/* -- Bundle --------------------------------------------------------------------------------------------------------- */

static int bundle_object_get_buffer(PyObject *self, Py_buffer *view, int flags)
{
    bundle *held = ((BundleObject *)self)->held;
    return PyBuffer_FillInfo(view, self, held->data, (Py_ssize_t)held->size, 1, flags);
}

static Py_ssize_t bundle_object_length(BundleObject *self)
{
    return (Py_ssize_t)self->held->size;
}

static PyObject *bundle_object_frames(BundleObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(self->held->frames);
}

static PyObject *bundle_object_longest(BundleObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(self->held->longest);
}

static void bundle_object_dealloc(BundleObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    bundle_release(self->held);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyGetSetDef bundle_members[] = {
    {"frames", (getter)bundle_object_frames, NULL, "how many there are", NULL},
    {"longest", (getter)bundle_object_longest, NULL, "bytes of the longest payload", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot bundle_slots[] = {
    {Py_tp_doc, "Whole frames in a row, as they came; its bytes can be viewed, and written, without being copied."},
    {Py_tp_dealloc, bundle_object_dealloc},
    {Py_tp_getset, bundle_members},
    {Py_sq_length, bundle_object_length},
    {Py_bf_getbuffer, bundle_object_get_buffer},
    {0, NULL},
};

static PyType_Spec bundle_spec = {
    .name = "mu_twisted.transport._core.Bundle",
    .basicsize = sizeof(BundleObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = bundle_slots,
};

/* -- the module ----------------------------------------------------------------------------------------------------- */

static int module_exec(PyObject *module)
{
    static const struct {
        const char *name;
        int value;
    } constants[] = {
        {"FRAMES", EVENT_FRAMES},           {"NOTES", EVENT_NOTES},
        {"BUNDLE", EVENT_BUNDLE},           {"PASSED", EVENT_PASSED},
        {"ESTABLISHED", EVENT_ESTABLISHED}, {"LOST", EVENT_LOST},
        {"DROPPED", EVENT_DROPPED},         {"COUNTED", EVENT_COUNTED},
        {"PARTIAL", NOTE_PARTIAL},          {"COMPLETED", NOTE_COMPLETED},
        {"BLOCKED", NOTE_BLOCKED},          {"DRAINED", NOTE_DRAINED},
        {"CLOSED", FAILURE_CLOSED},         {"BROKE", FAILURE_BROKE},
        {"TLS", FAILURE_TLS},               {"CERTIFICATE", FAILURE_CERTIFICATE},
        {"MALFORMED", FAILURE_MALFORMED},   {"TOO_LONG", FAILURE_TOO_LONG},
        {"KEY_UPDATES", FAILURE_KEY_UPDATES}, {"MEMORY", FAILURE_MEMORY},
        {"TIMEOUT", FAILURE_TIMEOUT},       {"STALLED", FAILURE_STALLED},
        {"FULL", FAILURE_FULL},             {"ACCEPT", FAILURE_ACCEPT},
        {"ENDED", FAILURE_ENDED},           {"MOST_THREADS", POOL_MOST_THREADS},
    };
    module_state *state = PyModule_GetState(module);
    state->core_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &core_spec, NULL);
    state->connection_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &connection_spec, NULL);
    state->bundle_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &bundle_spec, NULL);
    if (!state->core_type || !state->connection_type || !state->bundle_type ||
        PyModule_AddType(module, state->core_type) < 0 || PyModule_AddType(module, state->connection_type) < 0 ||
        PyModule_AddType(module, state->bundle_type) < 0 || !add_link_types(module, state))
        return -1;
    for (size_t at = 0; at < sizeof constants / sizeof *constants; at++)
        if (PyModule_AddIntConstant(module, constants[at].name, constants[at].value) < 0)
            return -1;
    return PyModule_AddStringConstant(module, "OPENSSL", OpenSSL_version(OPENSSL_VERSION));
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    module_state *state = PyModule_GetState(module);
    Py_VISIT(state->core_type);
    Py_VISIT(state->connection_type);
    Py_VISIT(state->bundle_type);
    Py_VISIT(state->streams_type);
    Py_VISIT(state->end_type);
    Py_VISIT(state->stream_type);
    return 0;
}

static int module_clear(PyObject *module)
{
    module_state *state = PyModule_GetState(module);
    Py_CLEAR(state->core_type);
    Py_CLEAR(state->connection_type);
    Py_CLEAR(state->bundle_type);
    Py_CLEAR(state->streams_type);
    Py_CLEAR(state->end_type);
    Py_CLEAR(state->stream_type);
    return 0;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_core",
    .m_doc = "The transport's core, in C.",
    .m_size = sizeof(module_state),
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&module_def);
}
