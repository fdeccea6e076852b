/* The part of mu_twisted.transport._core that gives Python the streams of named messages: see links.h, and
 * mu_twisted/transport/_core.pyi.
 *
 * What frames bring is sent by connections of the core, which sends it with the turn's rest. Nothing of Python runs while
 * frames are gone through. */
#include "module.h"

#include "links.h"

typedef struct {
    PyObject_HEAD
    link_streams *streams;
    PyTypeObject *end_type, *stream_type, *connection_type, *bundle_type;
} StreamsObject;

typedef struct {
    PyObject_HEAD
    link_end end;
    StreamsObject *streams;
    ConnectionObject *connection;
} EndObject;

typedef struct {
    PyObject_HEAD
    link_stream *stream;
    StreamsObject *streams;
    EndObject *from, *to; /* until it is closed */
} StreamObject;

/* -- what streams send ---------------------------------------------------------------------------------------------- */

static bool takes(void *user)
{
    const connection *c = ((const EndObject *)user)->connection->c;
    return c && !c->lost && !c->closing && !c->blocked;
}

static bool send_frames(void *user, bundle *of, const char *data, size_t size)
{
    connection *c = ((EndObject *)user)->connection->c;
    if (!c)
        return false;
    const core_payload payload = {data, size};
    const send_outcome outcome = of ? core_send_bundle(c, of, data, size) : core_send(c, &payload, 1, false);
    if (outcome == SEND_NO_MEMORY)
        core_abort(c); /* half a frame may have been added */
    return outcome == SEND_TAKEN;
}

static const link_sink sink = {.takes = takes, .send = send_frames};

/* -- LinkStreams ---------------------------------------------------------------------------------------------------- */

static PyObject *streams_object_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    const module_state *state = PyType_GetModuleState(type);
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":LinkStreams", names))
        return NULL;
    StreamsObject *self = (StreamsObject *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->streams = link_streams_new(&sink);
    self->end_type = (PyTypeObject *)Py_NewRef(state->end_type);
    self->stream_type = (PyTypeObject *)Py_NewRef(state->stream_type);
    self->connection_type = (PyTypeObject *)Py_NewRef(state->connection_type);
    self->bundle_type = (PyTypeObject *)Py_NewRef(state->bundle_type);
    if (self->streams)
        return (PyObject *)self;
    Py_DECREF(self);
    return PyErr_NoMemory();
}

static void streams_object_dealloc(StreamsObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    link_streams_free(self->streams);
    Py_XDECREF(self->end_type);
    Py_XDECREF(self->stream_type);
    Py_XDECREF(self->connection_type);
    Py_XDECREF(self->bundle_type);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

PyDoc_STRVAR(end_doc, "end($self, connection, task, /)\n--\n\nThe end of its streams that is this task's connection.\n");

static PyObject *streams_object_end(StreamsObject *self, PyObject *args)
{
    PyObject *carrier;
    unsigned long long task;
    if (!PyArg_ParseTuple(args, "O!K:end", self->connection_type, &carrier, &task))
        return NULL;
    EndObject *made = (EndObject *)self->end_type->tp_alloc(self->end_type, 0);
    if (!made)
        return NULL;
    made->end = (link_end){.task = task, .user = made};
    made->streams = (StreamsObject *)Py_NewRef(self);
    made->connection = (ConnectionObject *)Py_NewRef(carrier);
    return (PyObject *)made;
}

PyDoc_STRVAR(open_doc, "open($self, sender, receiver, name, first, /)\n--\n\n"
                       "Carry a stream from the message of this number on; None: it cannot be.\n");

static PyObject *streams_object_open(StreamsObject *self, PyObject *args)
{
    PyObject *from, *to;
    const char *name;
    Py_ssize_t size;
    unsigned long long first;
    if (!PyArg_ParseTuple(args, "O!O!y#K:open", self->end_type, &from, self->end_type, &to, &name, &size, &first))
        return NULL;
    EndObject *sender = (EndObject *)from, *receiver = (EndObject *)to;
    if (sender->streams != self || receiver->streams != self) {
        PyErr_SetString(PyExc_ValueError, "an end belongs to other streams");
        return NULL;
    }
    StreamObject *made = (StreamObject *)self->stream_type->tp_alloc(self->stream_type, 0);
    if (!made)
        return NULL;
    made->streams = (StreamsObject *)Py_NewRef(self);
    made->stream = link_stream_new(self->streams, &sender->end, &receiver->end, name, (size_t)size, first);
    if (!made->stream) {
        Py_DECREF(made);
        Py_RETURN_NONE;
    }
    made->from = (EndObject *)Py_NewRef(from);
    made->to = (EndObject *)Py_NewRef(to);
    return (PyObject *)made;
}

static PyMethodDef streams_methods[] = {
    {"end", (PyCFunction)streams_object_end, METH_VARARGS, end_doc},
    {"open", (PyCFunction)streams_object_open, METH_VARARGS, open_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot streams_slots[] = {
    {Py_tp_doc, "The streams of one job's named messages that are carried here."},
    {Py_tp_new, streams_object_new},
    {Py_tp_dealloc, streams_object_dealloc},
    {Py_tp_methods, streams_methods},
    {0, NULL},
};

static PyType_Spec streams_spec = {
    .name = "mu_twisted.transport._core.LinkStreams",
    .basicsize = sizeof(StreamsObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = streams_slots,
};

/* -- LinkEnd -------------------------------------------------------------------------------------------------------- */

static bool usable(const EndObject *self)
{
    return !self->connection->core || core_object_usable(self->connection->core);
}

PyDoc_STRVAR(read_doc, "read($self, bundle, at, size, messages, order, /)\n--\n\n"
                       "Carry out the frames of a bundle from this byte on, up to one that is none of the streams'.\n");

static PyObject *end_object_read(EndObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 5 || !Py_IS_TYPE(args[0], self->streams->bundle_type)) {
        PyErr_SetString(PyExc_TypeError, "expected a bundle and four numbers");
        return NULL;
    }
    const bundle *frames = ((BundleObject *)args[0])->held;
    Py_ssize_t numbers[4];
    for (int each = 0; each < 4; each++) {
        numbers[each] = PyLong_AsSsize_t(args[each + 1]);
        if (numbers[each] < 0) {
            if (PyErr_Occurred() || each == 0 || each == 3)
                return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "expected no number below 0");
            numbers[each] = 0; /* there is no room */
        }
    }
    size_t at = (size_t)numbers[0];
    if (at > frames->size)
        return PyErr_Format(PyExc_ValueError, "the bundle has %zu bytes, and none at %zu", frames->size, at);
    if (!usable(self))
        return NULL;
    link_allowance allowed = {.size = (size_t)numbers[1], .messages = (size_t)numbers[2], .order = (uint64_t)numbers[3]};
    link_streams *streams = self->streams->streams;
    size_t following = at;
    const char *payload = NULL;
    Py_ssize_t size = 0;
    uint64_t announced;
    if (!link_read(streams, &self->end, frames, &at, &allowed) &&
        frame_parse_header(frames->data + at, frames->size - at, &announced)) {
        payload = frames->data + at + FRAME_HEADER;
        size = (Py_ssize_t)announced;
        following = at + FRAME_HEADER + (size_t)announced;
    }
    link_tally *tally = link_streams_tally(streams);
    const link_tally told = *tally;
    *tally = (link_tally){0};
    return Py_BuildValue("(y#nnnnnn)", payload, size, (Py_ssize_t)at, (Py_ssize_t)following, (Py_ssize_t)told.messages,
                         (Py_ssize_t)told.size, (Py_ssize_t)told.acknowledged, (Py_ssize_t)told.sent);
}

PyDoc_STRVAR(resume_doc, "resume($self, /)\n--\n\nSend what the peer did not take; return how many bytes were sent.\n");

static PyObject *end_object_resume(EndObject *self, PyObject *Py_UNUSED(none))
{
    if (!usable(self))
        return NULL;
    link_tally *tally = link_streams_tally(self->streams->streams);
    link_resume(&self->end);
    const size_t sent = tally->sent;
    tally->sent = 0;
    return PyLong_FromSize_t(sent);
}

static PyObject *end_object_waited(EndObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(self->end.waited);
}

static PyObject *end_object_streams(EndObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->streams);
}

static void end_object_dealloc(EndObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(self->connection);
    Py_XDECREF(self->streams);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyMethodDef end_methods[] = {
    {"read", (PyCFunction)(void (*)(void))end_object_read, METH_FASTCALL, read_doc},
    {"resume", (PyCFunction)end_object_resume, METH_NOARGS, resume_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef end_members[] = {
    {"streams", (getter)end_object_streams, NULL, "that it is an end of", NULL},
    {"waited", (getter)end_object_waited, NULL, "messages of them that its task waits for, or has not acknowledged", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot end_slots[] = {
    {Py_tp_doc, "One task's connection, as the end of streams."},
    {Py_tp_dealloc, end_object_dealloc},
    {Py_tp_methods, end_methods},
    {Py_tp_getset, end_members},
    {0, NULL},
};

static PyType_Spec end_spec = {
    .name = "mu_twisted.transport._core.LinkEnd",
    .basicsize = sizeof(EndObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = end_slots,
};

/* -- LinkStream ----------------------------------------------------------------------------------------------------- */

PyDoc_STRVAR(want_doc, "want($self, number, /)\n--\n\n"
                       "Have its receiver wait for a message; return whether that can be.\n");

static PyObject *stream_object_want(StreamObject *self, PyObject *given)
{
    const unsigned long long number = PyLong_AsUnsignedLongLong(given);
    if (PyErr_Occurred() || (self->to && !usable(self->to)))
        return NULL;
    return PyBool_FromLong(self->to && link_stream_want(self->stream, number));
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\nCarry it no more; it can be called again.\n");

static PyObject *stream_object_close(StreamObject *self, PyObject *Py_UNUSED(none))
{
    link_stream_close(self->stream);
    Py_CLEAR(self->from);
    Py_CLEAR(self->to);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(take_doc, "take($self, all, /)\n--\n\n"
                       "Take messages that have come, or only those that their receiver has acknowledged.\n");

static PyObject *stream_object_take(StreamObject *self, PyObject *given)
{
    const int all = PyObject_IsTrue(given);
    if (all < 0)
        return NULL;
    uint64_t first;
    link_message *messages;
    const size_t count = link_stream_messages(self->stream, &first, &messages);
    const int collecting = PyGC_Disable(); /* a collection of garbage could run anything, and so change the stream */
    PyObject *taken = PyList_New(0);
    for (size_t at = 0; taken && at < count; at++) {
        link_message *message = &messages[at];
        if (!message->frame || !(all || message->acknowledged))
            continue;
        PyObject *one = Py_BuildValue(
            "(KKy#y#OOO)", (unsigned long long)(first + at), (unsigned long long)message->order,
            link_message_digest(self->stream, message), (Py_ssize_t)LINK_DIGEST, message->frame->data + message->body,
            (Py_ssize_t)link_message_size(message), message->wanted ? Py_True : Py_False,
            message->sent ? Py_True : Py_False, message->acknowledged ? Py_True : Py_False);
        if (!one || PyList_Append(taken, one) < 0)
            Py_CLEAR(taken);
        Py_XDECREF(one);
    }
    if (collecting)
        PyGC_Enable();
    if (!taken)
        return NULL;
    for (size_t at = 0; at < count; at++)
        messages[at].moved |= messages[at].frame && (all || messages[at].acknowledged);
    link_stream_trim(self->stream);
    return taken;
}

static PyObject *stream_object_unfinished(StreamObject *self, void *Py_UNUSED(closure))
{
    uint64_t first;
    link_message *messages;
    size_t at = 0;
    const size_t count = link_stream_messages(self->stream, &first, &messages);
    while (at < count && !(messages[at].frame && messages[at].wanted && !messages[at].acknowledged))
        at++;
    return PyBool_FromLong(at < count);
}

static PyObject *stream_object_messages(StreamObject *self, void *Py_UNUSED(closure))
{
    uint64_t first;
    link_message *messages;
    size_t here = 0;
    const size_t count = link_stream_messages(self->stream, &first, &messages);
    for (size_t at = 0; at < count; at++)
        here += messages[at].frame != NULL;
    return PyLong_FromSize_t(here);
}

PyDoc_STRVAR(missing_doc, "missing($self, /)\n--\n\nThe numbers of messages that are waited for and have not come.\n");

static PyObject *stream_object_missing(StreamObject *self, PyObject *Py_UNUSED(none))
{
    uint64_t first;
    link_message *messages;
    const size_t count = link_stream_messages(self->stream, &first, &messages);
    const int collecting = PyGC_Disable();
    PyObject *missing = PyList_New(0);
    for (size_t at = 0; missing && at < count; at++) {
        if (!messages[at].wanted || messages[at].frame || messages[at].moved)
            continue;
        PyObject *number = PyLong_FromUnsignedLongLong(first + at);
        if (!number || PyList_Append(missing, number) < 0)
            Py_CLEAR(missing);
        Py_XDECREF(number);
    }
    if (collecting)
        PyGC_Enable();
    return missing;
}

static void stream_object_dealloc(StreamObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (self->stream)
        link_stream_free(self->stream);
    Py_XDECREF(self->from);
    Py_XDECREF(self->to);
    Py_XDECREF(self->streams);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyMethodDef stream_methods[] = {
    {"want", (PyCFunction)stream_object_want, METH_O, want_doc},
    {"close", (PyCFunction)stream_object_close, METH_NOARGS, close_doc},
    {"take", (PyCFunction)stream_object_take, METH_O, take_doc},
    {"missing", (PyCFunction)stream_object_missing, METH_NOARGS, missing_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef stream_members[] = {
    {"messages", (getter)stream_object_messages, NULL, "how many it has", NULL},
    {"unfinished", (getter)stream_object_unfinished, NULL,
     "whether its receiver waits for a message that has come, or has not acknowledged one", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot stream_slots[] = {
    {Py_tp_doc, "A stream that is carried, or was, with those of its messages that were not taken."},
    {Py_tp_dealloc, stream_object_dealloc},
    {Py_tp_methods, stream_methods},
    {Py_tp_getset, stream_members},
    {0, NULL},
};

static PyType_Spec stream_spec = {
    .name = "mu_twisted.transport._core.LinkStream",
    .basicsize = sizeof(StreamObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = stream_slots,
};

bool add_link_types(PyObject *module, module_state *state)
{
    state->streams_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &streams_spec, NULL);
    state->end_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &end_spec, NULL);
    state->stream_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &stream_spec, NULL);
    return state->streams_type && state->end_type && state->stream_type &&
           PyModule_AddType(module, state->streams_type) == 0 && PyModule_AddType(module, state->end_type) == 0 &&
           PyModule_AddType(module, state->stream_type) == 0;
}
