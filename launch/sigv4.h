/* Signs one kind of request by AWS Signature Version 4: POST of JSON to Lambda's Invoke, as an event.
 *
 * Knows bytes and keys; neither Python nor the network. */
#ifndef MU_SIGV4_H
#define MU_SIGV4_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include <openssl/evp.h>

#define SIGV4_CONTENT_TYPE "application/json"
#define SIGV4_INVOCATION_TYPE "Event"
#define SIGV4_LONGEST_ACCESS_KEY 128
#define SIGV4_LONGEST_REGION 32

/* Borrowed from the caller: texts that end with a NUL. token may be NULL. */
typedef struct {
    const char *access_key;
    const char *secret_key;
    const char *token;
} credentials;

/* Keeps the key derived for a day, a region and a secret; of the secret itself only a digest. */
typedef struct {
    char region[SIGV4_LONGEST_REGION + 1];
    EVP_MD_CTX *digest; /* of SHA-256, used again and again: OpenSSL looks an algorithm up each time it is named */
    time_t second;      /* whose text is date */
    char date[17];
    char day[9];
    unsigned char secret_digest[32];
    unsigned char key[32];
} signer;

/* What a signature adds to a request, as texts. */
typedef struct {
    char date[17];
    char authorization[512];
} signature;

/* False where there is no memory. */
bool signer_init(signer *self);

/* Why this is no region's name, or NULL where it is one. */
const char *region_fault(const char *region);

/* Sign for this region, which must be without fault, from here on. */
void signer_set_region(signer *self, const char *region);

/* Wipes what was derived. Safe on a signer that was only zeroed. */
void signer_clear(signer *self);

/* Why these cannot be signed with, or NULL where they can; never shows any of them. */
const char *credentials_fault(const credentials *keys);

/* Sign a request; keys must be without fault, and a region have been set.
 *
 * host: the Host header's value. path: as it goes over the wire, already percent-encoded.
 * False where OpenSSL fails. */
bool signer_sign(signer *self, const credentials *keys, time_t now, const char *host, const char *path,
                 const void *payload, size_t size, signature *made);

#endif
