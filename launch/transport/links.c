#include "links.h"

#include <stdlib.h>
#include <string.h>

#include "frame.h"

enum {
    BUCKETS = 16,          /* at first */
    MOST_NUMBER = 1000000000,
    FIELD = 20,            /* digits of a number, and a colon */
    SHORT = FRAME_HEADER + 8 + 2 * FIELD + LINK_NAME, /* bytes of an acknowledgement, with its header */
};

struct link_stream {
    link_streams *of;
    link_stream *next; /* in its bucket */
    link_stream *next_stalled;
    link_end *from, *to; /* NULL: it is not carried any more */
    uint64_t sender, receiver;
    uint64_t first;        /* the number of the first of the messages */
    uint64_t stalled_from; /* where it is stalled: the first number that was not taken; else 0 */
    size_t count, capacity;
    link_message *messages;
    size_t hash, size;
    char name[];
};

struct link_streams {
    const link_sink *sink;
    link_stream **buckets;
    size_t bucket_count, count;
    link_tally tally;
};

/* -- streams -------------------------------------------------------------------------------------------------------- */

link_streams *link_streams_new(const link_sink *sink)
{
    link_streams *made = calloc(1, sizeof *made);
    if (made && !(made->buckets = calloc(BUCKETS, sizeof *made->buckets))) {
        free(made);
        made = NULL;
    }
    if (made) {
        made->sink = sink;
        made->bucket_count = BUCKETS;
    }
    return made;
}

void link_streams_free(link_streams *streams)
{
    if (streams)
        free(streams->buckets);
    free(streams);
}

link_tally *link_streams_tally(link_streams *streams)
{
    return &streams->tally;
}

static size_t hash_of(uint64_t sender, uint64_t receiver, const char *name, size_t size)
{
    uint64_t hash = (sender + 1) * 0x9e3779b97f4a7c15u ^ (receiver + 1) * 0xc2b2ae3d27d4eb4fu;
    for (size_t at = 0; at < size; at++)
        hash = (hash ^ (unsigned char)name[at]) * 0x100000001b3u;
    return (size_t)(hash ^ hash >> 32);
}

static link_stream **place_of(link_streams *streams, uint64_t sender, uint64_t receiver, const char *name, size_t size,
                              size_t hash)
{
    link_stream **at = &streams->buckets[hash % streams->bucket_count];
    for (; *at; at = &(*at)->next)
        if ((*at)->sender == sender && (*at)->receiver == receiver && (*at)->size == size &&
            memcmp((*at)->name, name, size) == 0)
            break;
    return at;
}

static link_stream *find(link_streams *streams, uint64_t sender, uint64_t receiver, const char *name, size_t size)
{
    return *place_of(streams, sender, receiver, name, size, hash_of(sender, receiver, name, size));
}

static void spread(link_streams *streams)
{
    const size_t wanted = 2 * streams->bucket_count;
    link_stream **made = calloc(wanted, sizeof *made);
    if (!made)
        return; /* it is slower then */
    for (size_t at = 0; at < streams->bucket_count; at++) {
        for (link_stream *each = streams->buckets[at], *next; each; each = next) {
            next = each->next;
            each->next = made[each->hash % wanted];
            made[each->hash % wanted] = each;
        }
    }
    free(streams->buckets);
    streams->buckets = made;
    streams->bucket_count = wanted;
}

link_stream *link_stream_new(link_streams *streams, link_end *from, link_end *to, const char *name, size_t size,
                             uint64_t first)
{
    const size_t hash = hash_of(from->task, to->task, name, size);
    if (streams->count >= streams->bucket_count)
        spread(streams);
    link_stream **place = place_of(streams, from->task, to->task, name, size, hash);
    link_stream *made = *place || size > LINK_NAME ? NULL : calloc(1, sizeof *made + size);
    if (!made)
        return NULL;
    made->of = streams;
    made->from = from;
    made->to = to;
    made->sender = from->task;
    made->receiver = to->task;
    made->first = first;
    made->hash = hash;
    made->size = size;
    memcpy(made->name, name, size);
    *place = made;
    streams->count++;
    return made;
}

static void unstall(link_stream *stream)
{
    if (!stream->stalled_from)
        return;
    link_stream **at = &stream->to->stalled;
    while (*at != stream)
        at = &(*at)->next_stalled;
    *at = stream->next_stalled;
    stream->stalled_from = 0;
}

void link_stream_close(link_stream *stream)
{
    link_streams *streams = stream->of;
    if (!stream->to)
        return;
    unstall(stream);
    for (size_t at = 0; at < stream->count; at++)
        if (stream->messages[at].wanted && !stream->messages[at].acknowledged)
            stream->to->waited--;
    *place_of(streams, stream->sender, stream->receiver, stream->name, stream->size, stream->hash) = stream->next;
    streams->count--;
    stream->from = stream->to = NULL;
}

void link_stream_free(link_stream *stream)
{
    link_stream_close(stream);
    for (size_t at = 0; at < stream->count; at++)
        bundle_release(stream->messages[at].frame);
    free(stream->messages);
    free(stream);
}

size_t link_stream_messages(const link_stream *stream, uint64_t *first, link_message **messages)
{
    *first = stream->first;
    *messages = stream->messages;
    return stream->count;
}

const char *link_message_digest(const link_stream *stream, const link_message *message)
{
    return message->frame->data + message->body - 1 - stream->size - 1 - LINK_DIGEST;
}

size_t link_message_size(const link_message *message)
{
    return message->frame->size - message->body;
}

void link_stream_trim(link_stream *stream)
{
    size_t leading = 0;
    for (size_t at = 0; at < stream->count; at++) {
        link_message *message = &stream->messages[at];
        if (message->moved) {
            bundle_release(message->frame);
            message->frame = NULL;
            leading += leading == at;
        }
    }
    stream->count -= leading;
    stream->first += leading;
    if (stream->count)
        memmove(stream->messages, stream->messages + leading, stream->count * sizeof *stream->messages);
}

/* The message of this number, for which there is made room; NULL: it cannot be one of the stream's, or there is no memory. */
static link_message *message_of(link_stream *stream, uint64_t number)
{
    if (number < stream->first || number - stream->first >= LINK_NUMBERS ||
        number - stream->first > stream->count + LINK_AHEAD)
        return NULL;
    const size_t at = (size_t)(number - stream->first);
    if (at >= stream->capacity) {
        const size_t wanted = at + 1 < 8 ? 8 : 2 * (at + 1);
        link_message *made = realloc(stream->messages, wanted * sizeof *made);
        if (!made)
            return NULL;
        stream->messages = made;
        stream->capacity = wanted;
    }
    if (at >= stream->count) {
        memset(stream->messages + stream->count, 0, (at + 1 - stream->count) * sizeof *stream->messages);
        stream->count = at + 1;
    }
    return &stream->messages[at];
}

/* -- deliveries ----------------------------------------------------------------------------------------------------- */

/* False: the receiver takes no more for now. */
static bool deliver(link_stream *stream, link_message *message)
{
    const link_sink *sink = stream->of->sink;
    bundle *frame = message->frame;
    if (!message->wanted || !frame || message->sent)
        return true;
    if (!sink->takes(stream->to->user) || !sink->send(stream->to->user, frame, frame->data, frame->size))
        return false;
    message->sent = true;
    stream->of->tally.sent += frame->size - FRAME_HEADER;
    return true;
}

/* What was not taken is sent when the receiver takes more, and what follows it then as well. */
static void deliver_or_stall(link_stream *stream, link_message *message)
{
    const uint64_t number = stream->first + (uint64_t)(message - stream->messages);
    if (stream->stalled_from) {
        if (number < stream->stalled_from)
            stream->stalled_from = number;
    } else if (!deliver(stream, message)) {
        stream->stalled_from = number;
        stream->next_stalled = stream->to->stalled;
        stream->to->stalled = stream;
    }
}

static bool deliver_from(link_stream *stream)
{
    /* What was taken from the front since then was sent. */
    size_t at = stream->stalled_from > stream->first ? (size_t)(stream->stalled_from - stream->first) : 0;
    for (; at < stream->count; at++) {
        stream->stalled_from = stream->first + at;
        if (!deliver(stream, &stream->messages[at]))
            return false;
    }
    return true;
}

void link_resume(link_end *end)
{
    while (end->stalled && deliver_from(end->stalled))
        unstall(end->stalled);
}

bool link_stream_want(link_stream *stream, uint64_t number)
{
    if (stream->to->waited >= LINK_WAITED)
        return false;
    link_message *message = message_of(stream, number);
    if (!message || message->wanted || message->moved)
        return false;
    message->wanted = true;
    stream->to->waited++;
    deliver_or_stall(stream, message);
    return true;
}

/* -- frames --------------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *at, *end;
} text;

static bool begins(text *from, const char *word, size_t size)
{
    if ((size_t)(from->end - from->at) < size || memcmp(from->at, word, size) != 0)
        return false;
    from->at += size;
    return true;
}

/* A number without sign or leading zeros, and the colon behind it. What is larger than any is the user's to refuse. */
static bool read_number(text *from, uint64_t *number)
{
    const char *start = from->at;
    uint64_t made = 0;
    while (from->at < from->end && *from->at >= '0' && *from->at <= '9' && from->at - start < 10)
        made = 10 * made + (uint64_t)(*from->at++ - '0');
    const size_t digits = (size_t)(from->at - start);
    *number = made;
    return digits && (digits == 1 || *start != '0') && made <= MOST_NUMBER && begins(from, ":", 1);
}

static bool read_digest(text *from)
{
    if (from->end - from->at < LINK_DIGEST)
        return false;
    for (const char *digits = from->at; from->at < digits + LINK_DIGEST; from->at++)
        if (!((*from->at >= '0' && *from->at <= '9') || (*from->at >= 'a' && *from->at <= 'f')))
            return false;
    return begins(from, ":", 1);
}

static size_t write_number(char *into, uint64_t number)
{
    char digits[FIELD];
    size_t size = 0, at = 0;
    do
        digits[size++] = (char)('0' + number % 10);
    while (number /= 10);
    while (size)
        into[at++] = digits[--size];
    into[at++] = ':';
    return at;
}

/* KIND:PEER:NUMBER: behind the room of a frame's header; returns the size of all that. */
static size_t write_address(char *into, const char *kind, size_t size, uint64_t peer, uint64_t number)
{
    memcpy(into + FRAME_HEADER, kind, size);
    size += FRAME_HEADER;
    size += write_number(into + size, peer);
    return size + write_number(into + size, number);
}

static void acknowledge(link_stream *stream, uint64_t number)
{
    char frame[SHORT];
    size_t size = write_address(frame, "ACK:", 4, stream->receiver, number);
    memcpy(frame + size, stream->name, stream->size);
    size += stream->size;
    frame_header(frame, size - FRAME_HEADER);
    (void)stream->of->sink->send(stream->from->user, NULL, frame, size);
    stream->of->tally.sent += size - FRAME_HEADER;
}

/* rest: the digest, the name and the bytes, as they came. */
static bool keep(link_message *message, uint64_t sender, uint64_t number, text rest, size_t body)
{
    char head[SHORT];
    const size_t size = write_address(head, "WHOLE:", 6, sender, number), left = (size_t)(rest.end - rest.at);
    bundle *made = bundle_new(size + left);
    if (!made)
        return false;
    frame_header(head, size + left - FRAME_HEADER);
    memcpy(made->data, head, size);
    memcpy(made->data + size, rest.at, left);
    made->size = size + left;
    made->frames = 1;
    made->longest = made->size - FRAME_HEADER;
    message->frame = made;
    message->body = (uint32_t)(made->size - body);
    return true;
}

static bool take_whole(link_streams *streams, link_end *end, text frame, link_allowance *allowed)
{
    uint64_t receiver, number;
    if (!read_number(&frame, &receiver) || !read_number(&frame, &number))
        return false;
    const text rest = frame;
    const char *name, *nul;
    if (!read_digest(&frame) || !(nul = memchr(name = frame.at, 0, (size_t)(frame.end - frame.at))))
        return false;
    const size_t body = (size_t)(frame.end - nul) - 1;
    link_stream *stream = find(streams, end->task, receiver, name, (size_t)(nul - name));
    if (!stream || stream->from != end || body > LINK_BODY || body > allowed->size || !allowed->messages ||
        !streams->sink->takes(end->user))
        return false;
    link_message *message = message_of(stream, number);
    if (!message || message->frame || message->moved || !keep(message, end->task, number, rest, body))
        return false;
    message->order = allowed->order++;
    allowed->size -= body;
    allowed->messages--;
    streams->tally.messages++;
    streams->tally.size += body;
    acknowledge(stream, number);
    deliver_or_stall(stream, message);
    return true;
}

/* The stream and the number that a receiver's frame names. */
static link_stream *find_of(link_streams *streams, const link_end *end, text frame, uint64_t *number)
{
    uint64_t sender;
    if (!read_number(&frame, &sender) || !read_number(&frame, number))
        return NULL;
    link_stream *stream = find(streams, sender, end->task, frame.at, (size_t)(frame.end - frame.at));
    return stream && stream->to == end ? stream : NULL;
}

static bool take_want(link_streams *streams, const link_end *end, text frame)
{
    uint64_t number;
    link_stream *stream = find_of(streams, end, frame, &number);
    return stream && link_stream_want(stream, number);
}

static bool take_acknowledgement(link_streams *streams, link_end *end, text frame)
{
    uint64_t number;
    link_stream *stream = find_of(streams, end, frame, &number);
    if (!stream || number < stream->first || number - stream->first >= stream->count)
        return false;
    link_message *message = &stream->messages[number - stream->first];
    if (!message->sent || message->acknowledged || message->moved)
        return false;
    message->acknowledged = true;
    end->waited--;
    streams->tally.acknowledged += link_message_size(message);
    return true;
}

static bool take(link_streams *streams, link_end *end, text frame, link_allowance *allowed)
{
    if (begins(&frame, "WHOLE:", 6))
        return take_whole(streams, end, frame, allowed);
    if (begins(&frame, "WANT:", 5))
        return take_want(streams, end, frame);
    return begins(&frame, "ACK:", 4) && take_acknowledgement(streams, end, frame);
}

bool link_read(link_streams *streams, link_end *end, const bundle *frames, size_t *at, link_allowance *allowed)
{
    while (*at < frames->size) {
        uint64_t size;
        if (!frame_parse_header(frames->data + *at, frames->size - *at, &size))
            return false; /* a bundle has whole frames only */
        const char *payload = frames->data + *at + FRAME_HEADER;
        if (!take(streams, end, (text){payload, payload + size}, allowed))
            return false;
        *at += FRAME_HEADER + (size_t)size;
    }
    return true;
}
