#include "sigv4.h"

#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/hmac.h>

#define SCOPE_END "/lambda/aws4_request"
#define SIGNED "content-type;host;x-amz-date;x-amz-invocation-type"
#define SIGNED_WITH_TOKEN SIGNED ";x-amz-security-token"

static bool is_unreserved(unsigned char byte)
{
    return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') ||
           byte == '-' || byte == '.' || byte == '_' || byte == '~';
}

static bool is_visible(const char *text)
{
    for (; *text; text++)
        if (*text <= ' ' || *text > '~')
            return false;
    return true;
}

static void to_hex(const unsigned char digest[32], char text[65])
{
    static const char digits[] = "0123456789abcdef";
    for (int at = 0; at < 32; at++) {
        text[2 * at] = digits[digest[at] >> 4];
        text[2 * at + 1] = digits[digest[at] & 15];
    }
    text[64] = '\0';
}

bool signer_init(signer *self)
{
    memset(self, 0, sizeof *self);
    self->digest = EVP_MD_CTX_new();
    return self->digest != NULL;
}

const char *region_fault(const char *region)
{
    size_t length = strlen(region);
    if (length == 0 || length > SIGV4_LONGEST_REGION || strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-") != length)
        return "expected a region like us-east-1";
    return NULL;
}

void signer_set_region(signer *self, const char *region)
{
    if (strcmp(self->region, region) == 0)
        return;
    memcpy(self->region, region, strlen(region) + 1);
    memset(self->day, 0, sizeof self->day);
}

void signer_clear(signer *self)
{
    EVP_MD_CTX_free(self->digest);
    OPENSSL_cleanse(self, sizeof *self);
}

const char *credentials_fault(const credentials *keys)
{
    if (!*keys->access_key || strlen(keys->access_key) > SIGV4_LONGEST_ACCESS_KEY || !is_visible(keys->access_key))
        return "the access key must be 1 to 128 visible ASCII characters";
    if (!*keys->secret_key)
        return "the secret key is empty";
    if (keys->token && (!*keys->token || !is_visible(keys->token)))
        return "the session token must be visible ASCII characters";
    return NULL;
}

static bool hmac(const void *key, size_t key_size, const char *text, unsigned char made[32])
{
    unsigned int size = 32;
    return HMAC(EVP_sha256(), key, (int)key_size, (const unsigned char *)text, strlen(text), made, &size) != NULL;
}

static bool derive(signer *self, const char *secret, const char *day)
{
    unsigned char digest[32];
    if (EVP_Digest(secret, strlen(secret), digest, NULL, EVP_sha256(), NULL) != 1)
        return false;
    bool known = memcmp(self->day, day, 9) == 0 && CRYPTO_memcmp(self->secret_digest, digest, 32) == 0;
    if (known) {
        OPENSSL_cleanse(digest, sizeof digest);
        return true;
    }
    size_t length = strlen(secret) + 4;
    char *first = OPENSSL_malloc(length + 1);
    if (!first)
        return false;
    memcpy(first, "AWS4", 4);
    memcpy(first + 4, secret, length - 3);
    bool done = hmac(first, length, day, self->key) && hmac(self->key, 32, self->region, self->key) &&
                hmac(self->key, 32, "lambda", self->key) && hmac(self->key, 32, "aws4_request", self->key);
    OPENSSL_clear_free(first, length + 1);
    memcpy(self->secret_digest, digest, 32);
    OPENSSL_cleanse(digest, sizeof digest);
    if (done)
        memcpy(self->day, day, 9);
    else
        memset(self->day, 0, 9);
    return done;
}

static bool add(signer *self, const char *text)
{
    return EVP_DigestUpdate(self->digest, text, strlen(text)) == 1;
}

/* The path percent-encoded once more, as every service but S3 wants it. */
static bool add_path(signer *self, const char *path)
{
    static const char digits[] = "0123456789ABCDEF";
    char held[192];
    size_t used = 0;
    for (; *path; path++) {
        unsigned char byte = (unsigned char)*path;
        if (is_unreserved(byte) || byte == '/') {
            held[used++] = (char)byte;
        } else {
            held[used++] = '%';
            held[used++] = digits[byte >> 4];
            held[used++] = digits[byte & 15];
        }
        if (used > sizeof held - 3) {
            if (EVP_DigestUpdate(self->digest, held, used) != 1)
                return false;
            used = 0;
        }
    }
    return EVP_DigestUpdate(self->digest, held, used) == 1;
}

/* The hex digest of the canonical request. */
static bool digest_request(signer *self, const credentials *keys, const char *date, const char *host, const char *path,
                           const void *payload, size_t size, char text[65])
{
    unsigned char digest[32];
    if (EVP_Digest(payload, size, digest, NULL, EVP_sha256(), NULL) != 1)
        return false;
    to_hex(digest, text);
    bool done = EVP_DigestInit_ex(self->digest, EVP_sha256(), NULL) == 1 && add(self, "POST\n") &&
                add_path(self, path) && add(self, "\n\ncontent-type:" SIGV4_CONTENT_TYPE "\nhost:") &&
                add(self, host) && add(self, "\nx-amz-date:") && add(self, date) &&
                add(self, "\nx-amz-invocation-type:" SIGV4_INVOCATION_TYPE "\n");
    if (done && keys->token)
        done = add(self, "x-amz-security-token:") && add(self, keys->token) && add(self, "\n");
    done = done && add(self, keys->token ? "\n" SIGNED_WITH_TOKEN "\n" : "\n" SIGNED "\n") && add(self, text) &&
           EVP_DigestFinal_ex(self->digest, digest, NULL) == 1;
    to_hex(digest, text);
    return done;
}

bool signer_sign(signer *self, const credentials *keys, time_t now, const char *host, const char *path,
                 const void *payload, size_t size, signature *made)
{
    struct tm utc;
    char day[9], request[65], text[256];
    if (!gmtime_r(&now, &utc) || strftime(made->date, sizeof made->date, "%Y%m%dT%H%M%SZ", &utc) != 16)
        return false;
    memcpy(day, made->date, 8);
    day[8] = '\0';
    if (!derive(self, keys->secret_key, day) ||
        !digest_request(self, keys, made->date, host, path, payload, size, request))
        return false;
    snprintf(text, sizeof text, "AWS4-HMAC-SHA256\n%s\n%s/%s" SCOPE_END "\n%s", made->date, day, self->region, request);
    unsigned char digest[32];
    if (!hmac(self->key, 32, text, digest))
        return false;
    to_hex(digest, request);
    snprintf(made->authorization, sizeof made->authorization,
             "AWS4-HMAC-SHA256 Credential=%s/%s/%s" SCOPE_END ", SignedHeaders=%s, Signature=%s", keys->access_key, day,
             self->region, keys->token ? SIGNED_WITH_TOKEN : SIGNED, request);
    return true;
}
