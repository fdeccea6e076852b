/* One connection: a descriptor, its TLS, the frames that come, the bytes that go. Sans everything else: it knows no epoll,
 * no other connection and no thread.
 *
 * It has one owner at a time, which alone may call these functions: the thread of the pool that accepted it, until its
 * handshake is done; then the thread of the core. Nothing here takes a lock. */
#ifndef MU_TRANSPORT_CONNECTION_H
#define MU_TRANSPORT_CONNECTION_H

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bundle.h"
#include "frame.h"
#include "queue.h"

enum {
    TURN_FRAMES = 64,         /* that one turn takes of one connection; those of a bundle are bounded by bytes alone */
    TURN_BYTES = 256 * 1024,  /* that one turn reads of one connection, unless its user wants less */
    CONNECTION_RECORD = 16384 /* the longest plaintext of a record of TLS */
};

/* Why a connection, or a handshake, has ended. Python puts these into words: mu_twisted/transport/_failures.py. */
typedef enum {
    FAILURE_NONE,
    FAILURE_CLOSED,      /* the peer has said that it sends no more */
    FAILURE_BROKE,       /* code: errno; 0 where the peer left without a word */
    FAILURE_TLS,         /* text: OpenSSL's reason */
    FAILURE_CERTIFICATE, /* code: the verification's X509_V_ERR */
    FAILURE_MALFORMED,   /* the header stands in the connection's reader */
    FAILURE_TOO_LONG,    /* code: bytes that were announced */
    FAILURE_KEY_UPDATES, /* more of TLS's KeyUpdate than data */
    FAILURE_MEMORY,
    FAILURE_TIMEOUT, /* the handshake took too long */
    FAILURE_STALLED, /* it stood still; code: how many were in progress */
    FAILURE_FULL,    /* code: how many connections there were */
    FAILURE_ACCEPT,  /* no connection could be accepted; code: errno */
    FAILURE_ENDED,   /* here: the core, or its listening, has ended */
} failure_kind;

typedef struct {
    failure_kind kind;
    int64_t code;
    const char *text; /* not to be freed; or NULL */
} failure;

typedef union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} peer_address;

typedef struct connection connection;

struct connection {
    SSL *ssl;
    int fd;
    peer_address peer;
    failure why;
    frame_reader reader;
    bundle_reader bundles;
    send_queue out;  /* encoded frames that are to be sent */
    byte_queue rest; /* decrypted bytes that a turn has left to the next */

    /* Of the reading in progress. */
    size_t may_read; /* bytes of the socket that this turn may still read */
    size_t turn_bytes; /* that one turn reads: TURN_BYTES at most */
    bool emptied;    /* the socket has nothing more for now */
    bool ended;      /* the peer's end of the socket is closed */
    int error;       /* errno of the socket, once it has failed */
    unsigned key_updates;
    size_t since_update; /* bytes of data since key_updates was last 0 */

    /* What its owner keeps with it. */
    bool bundled; /* what comes is cut into bundles, not frames */
    bool corked;  /* more is sent at once, so that the socket may wait for it */
    bool paused;  /* nothing is to be read */
    bool closing; /* nothing is to be delivered; closed once all is sent */
    bool shut;    /* the end has been sent */
    bool blocked; /* the socket takes no more for now */
    bool wants_write; /* TLS itself has to write before it can be read any further */
    bool watched; /* its user is to know when it is blocked, and no longer */
    bool partial; /* a frame was incomplete when its user last heard of it */
    bool lost;    /* the descriptor is gone */
    bool queued, dirty, more;
    uint64_t turn; /* in which it was read last */
    unsigned notes;
    uint32_t interest;
    connection *previous, *next;  /* all of its owner */
    connection *next_queued, *next_dirty;
    int64_t begun, progress; /* nanoseconds: of the handshake, and of its last progress */
    int state;               /* that the handshake has reached */
    void *user;              /* the binding's */
    void *home;              /* the core that it belongs to */
};

/* Takes a descriptor over, also where it fails (NULL: no memory). */
connection *connection_new(int fd, SSL_CTX *context, const peer_address *peer, uint64_t max_frame);

/* To be called once for each context that connections are made of. */
bool connection_prepare(SSL_CTX *context);

typedef enum { STEP_DONE, STEP_WAIT, STEP_WAIT_WRITE, STEP_FAILED } step;

/* Carries the handshake on. STEP_FAILED: why says the rest. */
step connection_handshake(connection *c);

/* Reads what a turn may, through a buffer of CONNECTION_RECORD bytes, and gives whole frames to the sink; *read counts
 * the bytes. Where it is bundled they stand in its bundles, and no sink is called. While the connection is closing what
 * comes is dropped. STEP_DONE: there may be more without the socket having any. */
step connection_read(connection *c, char *buffer, frame_sink sink, void *context, size_t *read);

/* Has what comes cut into bundles from now on, the incomplete frame included; false: the connection has failed. */
bool connection_bundle(connection *c);

/* Of the incomplete frame: bytes that are held, its header included; and the size that it announces, 0 until then. */
size_t connection_pending(const connection *c);
uint64_t connection_announced(const connection *c);

/* Adds bytes to those that are to be sent; false: no memory. */
bool connection_add(connection *c, const void *data, size_t size);
/* The same for bytes of a bundle, which are not copied where they are many. */
bool connection_add_bundle(connection *c, bundle *of, const char *data, size_t size);

/* Sends what the socket takes, and the end once all is sent if the connection is closing. */
step connection_flush(connection *c);

size_t connection_unsent(const connection *c);

/* Closes the descriptor and frees what TLS has; reset: what is unsent is not waited for, and the peer sees a reset. */
void connection_drop(connection *c, bool reset);

/* Drops it, if it is not yet, and frees it. */
void connection_free(connection *c);

#endif
