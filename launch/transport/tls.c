#include "tls.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

static const unsigned char SESSION_CONTEXT[] = "mu";

const char *tls_first_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    ERR_clear_error();
    return reason ? reason : "no reason was given";
}

/* There is no passphrase: OpenSSL would ask for one on the terminal. */
static int no_passphrase(char *into, int size, int writing, void *given)
{
    (void)into, (void)size, (void)writing, (void)given;
    return -1;
}

static BIO *reader_of(tls_bytes bytes)
{
    return bytes.size <= INT_MAX ? BIO_new_mem_buf(bytes.data, (int)bytes.size) : NULL;
}

static int is_pem(tls_bytes bytes)
{
    static const char begin[] = "-----BEGIN ";
    const size_t length = sizeof begin - 1;
    for (size_t at = 0; at + length <= bytes.size; at++)
        if (memcmp(bytes.data + at, begin, length) == 0)
            return 1;
    return 0;
}

/* Hands each certificate to a function, which takes its own reference and returns 1 for success. */
static int each_certificate(tls_bytes bytes, int (*take)(SSL_CTX *, X509 *, int), SSL_CTX *context)
{
    int number = 0, sound = 1;
    BIO *from = reader_of(bytes);
    if (!from)
        return 0;
    const int pem = is_pem(bytes);
    for (;;) {
        X509 *certificate = pem ? PEM_read_bio_X509(from, NULL, no_passphrase, NULL)
                                : (number == 0 ? d2i_X509_bio(from, NULL) : NULL);
        if (!certificate)
            break;
        sound = take(context, certificate, number++);
        X509_free(certificate);
        if (!sound)
            break;
    }
    BIO_free(from);
    if (sound && number > 0)
        ERR_clear_error(); /* the end of the PEM is one */
    return sound && number > 0;
}

static int take_own(SSL_CTX *context, X509 *certificate, int number)
{
    return number == 0 ? SSL_CTX_use_certificate(context, certificate)
                       : (int)SSL_CTX_add1_chain_cert(context, certificate);
}

static int take_authority(SSL_CTX *context, X509 *certificate, int number)
{
    (void)number;
    return X509_STORE_add_cert(SSL_CTX_get_cert_store(context), certificate);
}

static int use_key(SSL_CTX *context, tls_bytes bytes)
{
    BIO *from = reader_of(bytes);
    if (!from)
        return 0;
    EVP_PKEY *key =
        is_pem(bytes) ? PEM_read_bio_PrivateKey(from, NULL, no_passphrase, NULL) : d2i_PrivateKey_bio(from, NULL);
    BIO_free(from);
    const int used = key && SSL_CTX_use_PrivateKey(context, key) == 1 && SSL_CTX_check_private_key(context) == 1;
    EVP_PKEY_free(key);
    return used;
}

SSL_CTX *tls_server_context(tls_bytes chain, tls_bytes key, tls_bytes authorities, const char **fault)
{
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (context && SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) && SSL_CTX_set_num_tickets(context, 0) &&
        SSL_CTX_set_session_id_context(context, SESSION_CONTEXT, sizeof SESSION_CONTEXT - 1) &&
        each_certificate(chain, take_own, context) && use_key(context, key) &&
        each_certificate(authorities, take_authority, context)) {
        SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET);
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        /* One read of the socket brings header and body of a record, and the records behind it. */
        SSL_CTX_set_read_ahead(context, 1);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        return context;
    }
    SSL_CTX_free(context);
    *fault = tls_first_reason();
    return NULL;
}
