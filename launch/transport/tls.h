/* Makes the context of the side that listens: mutual TLS, 1.2 at least, without state between connections. Knows no
 * sockets. */
#ifndef MU_TRANSPORT_TLS_H
#define MU_TRANSPORT_TLS_H

#include <openssl/ssl.h>
#include <stddef.h>

typedef struct {
    const char *data;
    size_t size;
} tls_bytes;

/* The context for a certificate, followed by the rest of its chain, its key, and the authorities whose certificates
 * peers must show: each PEM, or one in DER. The caller's to free.
 *
 * NULL: *fault says why, in a text that is not to be freed. */
SSL_CTX *tls_server_context(tls_bytes chain, tls_bytes key, tls_bytes authorities, const char **fault);

/* The reason of the first error in this thread's queue, which is emptied; a text that is not to be freed. */
const char *tls_first_reason(void);

#endif
