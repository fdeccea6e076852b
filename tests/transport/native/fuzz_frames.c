/* Fuzzes the readers of frames and of bundles: LLVMFuzzerTestOneInput for libFuzzer; without it, a loop of its own that changes inputs.
 *
 * fuzz_frames SECONDS SEED. The rules: however the bytes are split, and wherever the sink stops or a bundle is taken, the
 * same payloads come out of them, and the same complaint; what comes out are the bytes that went in; nothing beyond what
 * has come is held. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bundle.h"
#include "frame.h"

enum { LIMIT = 1 << 16, LONGEST = 1 << 15 };

typedef struct {
    unsigned char *data; /* all payloads, each behind its header */
    size_t size, room;
    unsigned frames, stop_after;
} gathered;

static bool gather(void *context, const char *payload, size_t size)
{
    gathered *to = context;
    assert(size <= LIMIT && to->size + FRAME_HEADER + size <= to->room);
    frame_header((char *)to->data + to->size, size);
    if (size)
        memcpy(to->data + to->size + FRAME_HEADER, payload, size);
    to->size += FRAME_HEADER + size;
    to->frames++;
    return !to->stop_after || to->frames % to->stop_after != 0;
}

/* Feeds the input in pieces, each in memory of its own, so that a read beyond it is seen. */
static frame_outcome feed(frame_reader *reader, const uint8_t *data, size_t size, unsigned seed, gathered *to)
{
    frame_outcome outcome = FRAME_ALL_TAKEN;
    for (size_t at = 0; at < size;) {
        size_t piece = seed ? 1 + (size_t)rand_r(&seed) % (rand_r(&seed) % 3 ? 20 : 5000) : size;
        piece = piece < size - at ? piece : size - at;
        char *alone = malloc(piece);
        memcpy(alone, data + at, piece);
        size_t taken, done = 0;
        do {
            outcome = frame_feed(reader, alone + done, piece - done, &taken, gather, to);
            done += taken;
        } while (outcome == FRAME_STOPPED && done < piece);
        free(alone);
        if (outcome == FRAME_STOPPED)
            outcome = FRAME_ALL_TAKEN;
        if (outcome != FRAME_ALL_TAKEN)
            return outcome;
        assert(done == piece);
        at += piece;
        assert(frame_pending(reader) <= at);
        assert(!reader->in_body || reader->capacity <= 4096 + 2 * at);
    }
    return outcome;
}

static void gather_bundle(bundle_reader *reader, gathered *to)
{
    bundle *taken;
    size_t room;
    assert(bundle_room(reader, 1000, 0, &room)); /* for a read that brings nothing */
    assert(bundle_take(reader, &taken));
    assert(bundle_pending(reader) || !reader->filling); /* nothing is held for nothing */
    if (!taken)
        return;
    assert(to->size + taken->size <= to->room && taken->frames > 0 && taken->longest < taken->size);
    assert(taken->capacity <= 512 + taken->size + taken->size / 8);
    memcpy(to->data + to->size, taken->data, taken->size);
    to->size += taken->size;
    to->frames += taken->frames;
    bundle_release(taken);
}

static frame_outcome feed_bundles(bundle_reader *reader, const uint8_t *data, size_t size, unsigned seed, gathered *to)
{
    frame_outcome outcome = FRAME_ALL_TAKEN;
    for (size_t at = 0, room; at < size && outcome == FRAME_ALL_TAKEN;) {
        size_t piece = 1 + (size_t)rand_r(&seed) % (rand_r(&seed) % 3 ? 20 : 5000);
        piece = piece < size - at ? piece : size - at;
        char *into = bundle_room(reader, piece, (size_t)rand_r(&seed) % 5000, &room);
        assert(into && room >= piece);
        memcpy(into, data + at, piece);
        outcome = bundle_filled(reader, piece, LIMIT);
        at += piece;
        assert(bundle_pending(reader) <= at);
        if (outcome == FRAME_ALL_TAKEN && rand_r(&seed) % 2)
            gather_bundle(reader, to);
    }
    gather_bundle(reader, to); /* also those before what is none */
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const unsigned seed = size ? data[0] : 1;
    unsigned char *one = malloc(size + FRAME_HEADER), *other = malloc(size + FRAME_HEADER);
    unsigned char *third = malloc(size + FRAME_HEADER);
    gathered bundled = {.data = third, .room = size + FRAME_HEADER};
    bundle_reader bundles = {0};
    gathered whole = {.data = one, .room = size + FRAME_HEADER};
    gathered split = {.data = other, .room = size + FRAME_HEADER, .stop_after = 1 + seed % 3};
    frame_reader first = {.limit = LIMIT}, second = {.limit = LIMIT};
    const frame_outcome outcome = feed(&first, data, size, 0, &whole);
    assert(feed(&second, data, size, 1 + seed, &split) == outcome);
    assert(whole.size == split.size && memcmp(one, other, whole.size) == 0);
    assert(memcmp(one, data, whole.size) == 0);
    if (outcome == FRAME_ALL_TAKEN)
        assert(whole.size + frame_pending(&first) == size && frame_pending(&second) == frame_pending(&first));
    assert(feed_bundles(&bundles, data, size, 2 + seed, &bundled) == outcome);
    assert(whole.size == bundled.size && memcmp(one, third, whole.size) == 0 && whole.frames == bundled.frames);
    if (outcome == FRAME_ALL_TAKEN)
        assert(bundle_pending(&bundles) == frame_pending(&first));
    bundle_reader_clear(&bundles);
    free(third);
    frame_reader_clear(&first);
    frame_reader_clear(&second);
    free(one);
    free(other);
    return 0;
}

#ifndef WITH_LIBFUZZER
static size_t change(uint8_t *data, size_t size, unsigned *seed)
{
    const size_t at = size ? (size_t)rand_r(seed) % size : 0;
    switch (rand_r(seed) % 6) {
    case 0:
        if (size)
            data[at] ^= (uint8_t)(1u << (rand_r(seed) % 8));
        break;
    case 1:
        return at;
    case 2:
        if (size + FRAME_HEADER < LONGEST) {
            frame_header((char *)data + size, (uint64_t)(rand_r(seed) % 4 ? rand_r(seed) % 40 : rand_r(seed)));
            return size + FRAME_HEADER;
        }
        break;
    case 3:
        for (size_t more = (size_t)rand_r(seed) % 5000; more > 0 && size < LONGEST; more--)
            data[size++] = (uint8_t)rand_r(seed);
        break;
    case 4:
        if (size)
            data[at] = "0123456789 x"[rand_r(seed) % 12];
        break;
    default: { /* a sound frame in the end */
        const size_t payload = (size_t)rand_r(seed) % 300;
        if (size + FRAME_HEADER + payload < LONGEST) {
            frame_header((char *)data + size, payload);
            memset(data + size + FRAME_HEADER, 'p', payload);
            return size + FRAME_HEADER + payload;
        }
    }
    }
    return size;
}

int main(int count, char **words)
{
    if (count != 3) {
        fprintf(stderr, "usage: fuzz_frames SECONDS SEED\n");
        return 2;
    }
    const time_t end = time(NULL) + atoi(words[1]);
    unsigned seed = (unsigned)atoi(words[2]);
    static uint8_t data[LONGEST];
    size_t size = 0;
    unsigned long inputs = 0;
    for (; time(NULL) < end; inputs++) {
        if (inputs % 64 == 0)
            size = 0;
        size = change(data, size, &seed);
        LLVMFuzzerTestOneInput(data, size);
    }
    printf("%lu inputs of frames in C, nothing broke\n", inputs);
    return 0;
}
#endif
