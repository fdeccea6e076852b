/* Threads that accept connections and carry out the handshakes of TLS, within limits. A connection stays on the thread
 * that has accepted it until its handshake is done; then it is handed over, once, through a queue with an eventfd.
 *
 * The pool's own thread is the one that calls these functions. Connections, and reports, that have been taken from the
 * queue are the caller's; the pool knows nothing of them any more but their number. */
#ifndef MU_TRANSPORT_POOL_H
#define MU_TRANSPORT_POOL_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "connection.h"

enum { POOL_MOST_THREADS = 256 };

typedef struct {
    unsigned threads;
    unsigned max_handshakes;  /* in progress at once; beyond them, connections wait in the kernel's backlog */
    unsigned max_connections; /* at once, in any state, until pool_connection_ended; 0: any number */
    unsigned room;            /* so near to max_connections, room is asked for */
    double handshake_timeout; /* seconds */
    double stall_timeout;     /* seconds that a handshake may stand still while there are too many */
    uint64_t max_frame;       /* bytes of payload, until its owner sets another limit */
    bool manual_clock;           /* time is what pool_set_time says, and stands still in between */
} pool_options;

/* What has become of a peer that the user of the pool never saw. */
typedef struct report {
    struct report *next;
    peer_address peer;
    failure why;
} report;

typedef struct handshake_pool handshake_pool;

/* The context is taken over, also where it fails: NULL with a *fault that is not to be freed. */
handshake_pool *pool_new(SSL_CTX *context, const pool_options *options, const char **fault);

/* Begins to accept; the descriptor is the caller's, and to be open until pool_stop. False: *fault says why. */
bool pool_start(handshake_pool *pool, int listening, const char **fault);

/* Accepts nothing more, ends what handshakes are in progress, and the threads. */
void pool_stop(handshake_pool *pool);

/* After pool_stop, and once every connection that was taken has been freed. */
void pool_free(handshake_pool *pool);

/* Readable when there is something to take, or after pool_wake. */
int pool_descriptor(const handshake_pool *pool);
void pool_wake(handshake_pool *pool);
void pool_woken(handshake_pool *pool);

/* Takes what waits: two lists, by their next; either may be empty. unreported counts peers beyond those that are kept. */
void pool_take(handshake_pool *pool, connection **connections, report **reports, unsigned *unreported, unsigned *room_wanted);

void pool_connection_ended(handshake_pool *pool);
unsigned pool_connections(const handshake_pool *pool);
unsigned pool_handshakes(const handshake_pool *pool);

/* For tests: it is that many seconds, and whether all threads wait for a descriptor that is not ready. */
void pool_set_time(handshake_pool *pool, double seconds);
bool pool_idle(handshake_pool *pool);

#endif
