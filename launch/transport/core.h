/* The transport's core: connections of the side that listens, from their acceptance to their end. Handshakes are carried
 * out by a pool of threads; and the thread that made the core, its user, serves all that are connected, in
 * turns, when the core's descriptor is readable. docs/transport.md says who owns what.
 *
 * Everything here is called from the user's thread. No lock is held while the sink is called. The sink may not call the
 * core; what it was given is used between core_turn and core_flush, and in between turns. */
#ifndef MU_TRANSPORT_CORE_H
#define MU_TRANSPORT_CORE_H

#include "connection.h"
#include "pool.h"

typedef struct transport_core transport_core;

/* What a connection's user is to know, beside frames; several at once. */
enum {
    NOTE_PARTIAL = 1,   /* a frame is incomplete, or not any more */
    NOTE_COMPLETED = 2, /* with it: another frame has been completed since */
    NOTE_BLOCKED = 4,   /* for those that are watched: the peer takes no more for now */
    NOTE_DRAINED = 8,   /* and: all that was to be sent has been taken */
    NOTE_LOST = 16,     /* it is gone, and why says why: the last that is heard of it, and the end of the pointer */
};

typedef struct {
    /* A new connection, with its handshake done: certificate and peer can be looked at. */
    void (*established)(void *context, connection *c);
    /* One frame; all of one connection's in a turn follow one another. False: no more of this one in this turn. */
    bool (*frame)(void *context, connection *c, const char *payload, size_t size);
    /* The same for a connection that is bundled, once a turn; the bundle is the sink's to hold. It was sent to passed_to
     * already; or that is NULL. */
    void (*bundled)(void *context, connection *c, bundle *taken, connection *passed_to);
    /* Where a bundle of this connection is to be sent at once, before its user hears of it; or NULL. */
    connection *(*route)(void *context, connection *c);
    void (*noted)(void *context, connection *c, unsigned notes);
    /* A peer that never got so far. */
    void (*dropped)(void *context, const report *what);
    /* So many others were not reported one by one, and so many new connections want the room of old ones. */
    void (*counted)(void *context, unsigned unreported, unsigned room_wanted);
} core_sink;

/* As pool_new; max_unsent: bytes that may wait for a peer that takes no more before core_send refuses. */
transport_core *core_new(SSL_CTX *context, const pool_options *options, size_t max_unsent, const char **fault);

/* As pool_start; the descriptor is duplicated. */
bool core_listen(transport_core *core, int listening, const char **fault);
void core_stop_listening(transport_core *core);

int core_descriptor(const transport_core *core);

/* Reads what there is, within limits for each connection and for all, and tells the sink. polls: to wait for a moment until
 * there is something, as after what was passed on, whose answer is passed on too. */
void core_turn(transport_core *core, const core_sink *sink, void *context, bool polls);
/* Sends all that core_send has left to be sent together; to be called after what core_turn has led to. */
void core_flush(transport_core *core);

/* Ends everything; the sink hears NOTE_LOST for each connection. */
void core_end(transport_core *core, const core_sink *sink, void *context);
void core_free(transport_core *core);

typedef struct {
    const void *data;
    size_t size;
} core_payload;

typedef enum { SEND_TAKEN, SEND_REFUSED, SEND_NO_MEMORY } send_outcome;

/* Each payload as a frame, or, where framed is false, bytes of frames as they are. Does nothing once the connection is
 * lost or closing. */
send_outcome core_send(connection *c, const core_payload *payloads, size_t count, bool framed);

/* The same for bytes of a bundle, whole frames or not. */
send_outcome core_send_bundle(connection *c, bundle *of, const char *data, size_t size);

/* What comes is given to the sink in bundles from now on. */
void core_bundle(connection *c);
void core_pause(connection *c, bool paused);
/* How many bytes one turn reads of it: CONNECTION_RECORD to TURN_BYTES; and its user has memory for so many of the frame
 * that has begun, with TURN_BYTES for all of it. */
void core_read_at_once(connection *c, size_t size);
/* From now on the user is to hear NOTE_BLOCKED and NOTE_DRAINED, or not. */
void core_watch(connection *c, bool watched);
/* Sends what is to be sent, then the end; NOTE_LOST comes when the peer has ended it too. */
void core_finish(connection *c);
/* Cuts the connection off; NOTE_LOST comes with the next turn. */
void core_abort(connection *c);

/* The leaf of the peer's certificate in DER, to be freed by OPENSSL_free; its size, or 0. */
size_t core_certificate(const connection *c, unsigned char **der);

handshake_pool *core_pool(transport_core *core);

#endif
