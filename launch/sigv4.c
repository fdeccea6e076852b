#include "sigv4.h"

#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

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
    return self->digest && EVP_DigestInit_ex(self->digest, EVP_sha256(), NULL) == 1;
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

static bool begin(signer *self)
{
    return EVP_DigestInit_ex(self->digest, NULL, NULL) == 1;
}

static bool add_bytes(signer *self, const void *data, size_t size)
{
    return EVP_DigestUpdate(self->digest, data, size) == 1;
}

static bool add(signer *self, const char *text)
{
    return add_bytes(self, text, strlen(text));
}

static bool end(signer *self, unsigned char made[32])
{
    return EVP_DigestFinal_ex(self->digest, made, NULL) == 1;
}

/* RFC 2104. The key may be where the result goes. */
static bool hmac(signer *self, const void *key, size_t key_size, const char *text, unsigned char made[32])
{
    unsigned char inner[64] = {0}, outer[64];
    bool done = true;
    if (key_size > sizeof inner)
        done = begin(self) && add_bytes(self, key, key_size) && end(self, inner);
    else
        memcpy(inner, key, key_size);
    for (size_t at = 0; at < sizeof inner; at++) {
        outer[at] = inner[at] ^ 0x5c;
        inner[at] ^= 0x36;
    }
    done = done && begin(self) && add_bytes(self, inner, sizeof inner) && add(self, text) && end(self, made) &&
           begin(self) && add_bytes(self, outer, sizeof outer) && add_bytes(self, made, 32) && end(self, made);
    OPENSSL_cleanse(inner, sizeof inner);
    OPENSSL_cleanse(outer, sizeof outer);
    return done;
}

static bool derive(signer *self, const char *secret, const char *day)
{
    unsigned char digest[32];
    if (!begin(self) || !add(self, secret) || !end(self, digest))
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
    bool done = hmac(self, first, length, day, self->key) && hmac(self, self->key, 32, self->region, self->key) &&
                hmac(self, self->key, 32, "lambda", self->key) && hmac(self, self->key, 32, "aws4_request", self->key);
    OPENSSL_clear_free(first, length + 1);
    memcpy(self->secret_digest, digest, 32);
    OPENSSL_cleanse(digest, sizeof digest);
    if (done)
        memcpy(self->day, day, 9);
    else
        memset(self->day, 0, 9);
    return done;
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
            if (!add_bytes(self, held, used))
                return false;
            used = 0;
        }
    }
    return add_bytes(self, held, used);
}

/* The hex digest of the canonical request. */
static bool digest_request(signer *self, const credentials *keys, const char *date, const char *host, const char *path,
                           const void *payload, size_t size, char text[65])
{
    unsigned char digest[32];
    if (!begin(self) || !add_bytes(self, payload, size) || !end(self, digest))
        return false;
    to_hex(digest, text);
    bool done = begin(self) && add(self, "POST\n") && add_path(self, path) &&
                add(self, "\n\ncontent-type:" SIGV4_CONTENT_TYPE "\nhost:") && add(self, host) &&
                add(self, "\nx-amz-date:") && add(self, date) &&
                add(self, "\nx-amz-invocation-type:" SIGV4_INVOCATION_TYPE "\n");
    if (done && keys->token)
        done = add(self, "x-amz-security-token:") && add(self, keys->token) && add(self, "\n");
    done = done && add(self, keys->token ? "\n" SIGNED_WITH_TOKEN "\n" : "\n" SIGNED "\n") && add(self, text) &&
           end(self, digest);
    to_hex(digest, text);
    return done;
}

/* Seconds' texts are made once each. */
static bool read_clock(signer *self, time_t now)
{
    struct tm utc;
    if (*self->date && now == self->second)
        return true;
    self->second = now;
    if (gmtime_r(&now, &utc) && strftime(self->date, sizeof self->date, "%Y%m%dT%H%M%SZ", &utc) == 16)
        return true;
    self->date[0] = '\0';
    return false;
}

bool signer_sign(signer *self, const credentials *keys, time_t now, const char *host, const char *path,
                 const void *payload, size_t size, signature *made)
{
    char day[9], request[65], text[256];
    if (!read_clock(self, now))
        return false;
    memcpy(made->date, self->date, sizeof made->date);
    memcpy(day, made->date, 8);
    day[8] = '\0';
    if (!derive(self, keys->secret_key, day) ||
        !digest_request(self, keys, made->date, host, path, payload, size, request))
        return false;
    snprintf(text, sizeof text, "AWS4-HMAC-SHA256\n%s\n%s/%s" SCOPE_END "\n%s", made->date, day, self->region, request);
    unsigned char digest[32];
    if (!hmac(self, self->key, 32, text, digest))
        return false;
    to_hex(digest, request);
    snprintf(made->authorization, sizeof made->authorization,
             "AWS4-HMAC-SHA256 Credential=%s/%s/%s" SCOPE_END ", SignedHeaders=%s, Signature=%s", keys->access_key, day,
             self->region, keys->token ? SIGNED_WITH_TOKEN : SIGNED, request);
    return true;
}
