/* Fuzzes the reader of answers: LLVMFuzzerTestOneInput for libFuzzer; without it, a loop of its own that changes inputs.
 *
 * fuzz_answers SECONDS SEED. The rules: however the bytes are split, the same answer comes out of them; it is read no
 * further than the bounds say; a status is one of HTTP's, and what is kept are bytes that went in. */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "answer.h"

enum { LONGEST = 1 << 19 };

/* Feeds the input in pieces, each in memory of its own, so that a read beyond it is seen. */
static void feed(reply *to, const uint8_t *data, size_t size, unsigned seed)
{
    reply_begin(to);
    for (size_t at = 0; at < size;) {
        size_t piece = seed ? 1 + (size_t)rand_r(&seed) % (rand_r(&seed) % 3 ? 20 : 5000) : size;
        piece = piece < size - at ? piece : size - at;
        char *alone = malloc(piece);
        memcpy(alone, data + at, piece);
        bool more = reply_take(to, alone, piece);
        free(alone);
        at += piece;
        assert(to->received == at && to->kept <= to->taken && to->kept <= ANSWER_BODY_KEPT);
        assert(more == (to->stage != REPLY_COMPLETE && to->stage != REPLY_BROKEN));
        assert(!more || (to->lines <= ANSWER_HEAD_TAKEN && to->taken <= ANSWER_BODY_TAKEN));
        if (!more)
            break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    reply whole, split;
    launch_answer answer = {0};
    feed(&whole, data, size, 0);
    feed(&split, data, size, size ? 1u + data[size / 2] : 1);
    assert(whole.stage == split.stage && whole.status == split.status && whole.kept == split.kept);
    assert(memcmp(whole.body, split.body, whole.kept) == 0 && strcmp(whole.error_type, split.error_type) == 0);
    assert(whole.status == 0 || (whole.status >= 200 && whole.status <= 999));
    assert(whole.stage != REPLY_COMPLETE || whole.status != 0);
    assert(whole.retry_after == split.retry_after && whole.retry_after <= 3600);
    if (whole.status) {
        reply_end(&whole, &answer);
        launch_answer_clear(&answer);
    }
    return 0;
}

#ifndef WITH_LIBFUZZER
static const char *const PARTS[] = {
    "HTTP/1.1 202 Accepted\r\n", "HTTP/1.1 500 \r\n", "HTTP/1.0 429 X\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "\r\n", "\r\n",
    "Content-Length: 5\r\n", "content-length:0\r\n", "Content-Length: 300000\r\n", "Transfer-Encoding: chunked\r\n",
    "5\r\nhello\r\n", "0\r\n\r\n", "1F;x=y\r\n", "Connection: close\r\n", "Retry-After: 7\r\n", "Retry-After: 1e999\r\n",
    "x-amzn-ErrorType: ServiceException:http://x\r\n", "hello", "X: y\n", "Connection: keep-alive\r\n",
};

static size_t add(uint8_t *data, size_t size, const char *part)
{
    const size_t length = strlen(part);
    if (size + length > LONGEST)
        return size;
    memcpy(data + size, part, length);
    return size + length;
}

static size_t change(uint8_t *data, size_t size, unsigned *seed)
{
    const size_t at = size ? (size_t)rand_r(seed) % size : 0;
    switch (rand_r(seed) % 8) {
    case 0:
        if (size)
            data[at] ^= (uint8_t)(1u << (rand_r(seed) % 8));
        break;
    case 1:
        return rand_r(seed) % 4 ? size : at;
    case 2:
        for (size_t more = (size_t)rand_r(seed) % (rand_r(seed) % 8 ? 500 : 100000); more > 0 && size < LONGEST; more--)
            data[size++] = (uint8_t)(rand_r(seed) % 64 + 32);
        break;
    default:
        return add(data, size, PARTS[(size_t)rand_r(seed) % (sizeof PARTS / sizeof *PARTS)]);
    }
    return size;
}

int main(int count, char **words)
{
    if (count != 3) {
        fprintf(stderr, "usage: fuzz_answers SECONDS SEED\n");
        return 2;
    }
    const time_t end = time(NULL) + atoi(words[1]);
    unsigned seed = (unsigned)atoi(words[2]);
    static uint8_t data[LONGEST];
    size_t size = 0;
    unsigned long inputs = 0, complete = 0;
    for (; time(NULL) < end; inputs++) {
        if (inputs % 32 == 0)
            size = add(data, 0, PARTS[rand_r(&seed) % 3]);
        size = change(data, size, &seed);
        LLVMFuzzerTestOneInput(data, size);
        reply read;
        feed(&read, data, size, 0);
        complete += read.stage == REPLY_COMPLETE;
    }
    assert(complete > 0);
    printf("%lu inputs of answers in C, %lu of them complete, nothing broke\n", inputs, complete);
    return 0;
}
#endif
