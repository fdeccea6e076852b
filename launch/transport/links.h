/* Streams of named messages that are carried here: what a connected task sends to another, message by message, is kept,
 * acknowledged, and delivered where it is waited for. Frames of these streams that follow the rules of a steady stream are
 * carried out; every other frame is the user's, who then takes its stream back. The frames stand in docs/protocol.md.
 *
 * Knows no connections: of them, and of limits, it knows what its user says. All of it belongs to one thread. */
#ifndef MU_TRANSPORT_LINKS_H
#define MU_TRANSPORT_LINKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bundle.h"

enum {
    LINK_NAME = 200,      /* bytes of a name */
    LINK_BODY = 64 << 10, /* bytes of a message */
    LINK_NUMBERS = 8192,  /* numbers from the first one that a stream still has to its last */
    LINK_AHEAD = 8,       /* by how many numbers messages, or what is waited for, may run ahead of others */
    LINK_WAITED = 4096,   /* messages that one end may wait for, or not have acknowledged */
    LINK_DIGEST = 64,     /* hexadecimal digits */
};

typedef struct {
    /* Whether the peer takes more now. */
    bool (*takes)(void *user);
    /* Sends frames; of is the bundle that they stand in, or NULL: they are gone after the call. False: they are not sent. */
    bool (*send)(void *user, bundle *of, const char *data, size_t size);
} link_sink;

typedef struct link_streams link_streams;
typedef struct link_stream link_stream;

/* A task's connection; all 0 but these two at first. To be let go of after all its streams. */
typedef struct {
    uint64_t task;
    void *user;
    unsigned waited;      /* what it waits for, or has not acknowledged */
    link_stream *stalled; /* those that have messages which it did not take */
} link_end;

typedef struct {
    bundle *frame;  /* as it goes to the receiver; NULL: it is not here */
    uint64_t order; /* grows with each that comes */
    uint32_t body;  /* where its bytes begin in the frame; its digest ends before the name */
    bool wanted, sent, acknowledged;
    bool moved; /* the user has it */
} link_message;

/* What has come, been acknowledged by receivers, and been sent since this was last emptied: messages and bytes of them;
 * bytes of acknowledged ones; bytes of frames that were sent. */
typedef struct {
    size_t messages, size, acknowledged, sent;
} link_tally;

/* What may be taken: bytes of messages, how many of them; and the order of the next. */
typedef struct {
    size_t size, messages;
    uint64_t order;
} link_allowance;

/* NULL: there is no memory. */
link_streams *link_streams_new(const link_sink *sink);
/* After all its streams. */
void link_streams_free(link_streams *streams);
link_tally *link_streams_tally(link_streams *streams);

/* Carries a stream from this number on; NULL: there is no memory, or it is carried already. */
link_stream *link_stream_new(link_streams *streams, link_end *from, link_end *to, const char *name, size_t size,
                             uint64_t first);
/* Its receiver waits for this message; false: it cannot be said here. */
bool link_stream_want(link_stream *stream, uint64_t number);
/* Carries it no more; its messages are still there. */
void link_stream_close(link_stream *stream);
void link_stream_free(link_stream *stream);

/* Its messages, by their numbers from *first on. */
size_t link_stream_messages(const link_stream *stream, uint64_t *first, link_message **messages);
const char *link_message_digest(const link_stream *stream, const link_message *message);
size_t link_message_size(const link_message *message);
/* The user has those now that it has marked as moved: their frames are released. */
void link_stream_trim(link_stream *stream);

/* Carries out the frames of a bundle from *at on; false: the one at *at is the user's. */
bool link_read(link_streams *streams, link_end *end, const bundle *frames, size_t *at, link_allowance *allowed);

/* The peer takes more again: it is sent what it did not take. */
void link_resume(link_end *end);

#endif
