/* Fuzzes the streams of named messages: LLVMFuzzerTestOneInput for libFuzzer; without it, a loop of its own.
 *
 * fuzz_links SECONDS SEED. An input is read as what two tasks do to one another. The rules, which a model keeps that knows
 * numbers only: a message that is acknowledged has come, once, and is there until it is taken; one is sent to a receiver
 * once, where that waits for it and takes more, and has the bytes and the digest that came; what is told adds up; bytes
 * that are no frame of a stream's change nothing. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "frame.h"
#include "links.h"

enum { TASKS = 2, NAMES = 2, NUMBERS = 200, LONGEST = 4096 };

static const char *const NAME[NAMES] = {"a", "another name"};

typedef struct {
    int size; /* of the message that has come; -1: none */
    bool wanted, sent, acknowledged, taken;
} known;

typedef struct {
    link_stream *stream; /* or NULL */
    known messages[NUMBERS];
    unsigned first;
    bool closed;
} modelled;

static struct {
    link_streams *streams;
    link_end ends[TASKS], replaced[TASKS]; /* their connections, and earlier ones, which are heard no more */
    bool takes[TASKS];
    modelled of[TASKS][TASKS][NAMES]; /* by sender and receiver */
    unsigned answers; /* acknowledgements to senders since this was last 0 */
    size_t sent;
} world;

static const uint8_t *input, *input_end;

static unsigned chance(unsigned below)
{
    return input < input_end ? *input++ % below : 0;
}

static void fill(char *into, int size, unsigned number)
{
    for (int at = 0; at < size; at++)
        into[at] = (char)(number * 7 + (unsigned)at);
}

static void digest_of(char *into, unsigned number, int size)
{
    for (int at = 0; at < LINK_DIGEST; at++)
        into[at] = "0123456789abcdef"[(number + (unsigned)size + (unsigned)at) % 16];
}

/* -- what is sent --------------------------------------------------------------------------------------------------- */

static bool takes(void *user)
{
    return world.takes[(link_end *)user - world.ends];
}

static int name_of(const char *text, size_t size)
{
    for (int name = 0; name < NAMES; name++)
        if (strlen(NAME[name]) == size && memcmp(NAME[name], text, size) == 0)
            return name;
    abort();
}

static bool send_frame(void *user, bundle *of, const char *data, size_t size)
{
    const unsigned me = (unsigned)((link_end *)user - world.ends);
    uint64_t announced;
    unsigned peer, number;
    int head = 0;
    assert(frame_parse_header(data, size, &announced) && announced == size - FRAME_HEADER);
    world.sent += (size_t)announced;
    char *payload = calloc(1, (size_t)announced + 1);
    memcpy(payload, data + FRAME_HEADER, (size_t)announced);
    if (!of) {
        assert(sscanf(payload, "ACK:%u:%u:%n", &peer, &number, &head) == 2 && head);
        const int name = name_of(payload + head, (size_t)announced - (size_t)head);
        assert(peer < TASKS && number < NUMBERS && world.of[me][peer][name].messages[number].size >= 0);
        world.answers++;
    } else {
        char digest[LINK_DIGEST + 1] = "", expected[LINK_DIGEST + 1] = "";
        assert(sscanf(payload, "WHOLE:%u:%u:%64[0-9a-f]:%n", &peer, &number, digest, &head) == 3 && head);
        const size_t name_size = strlen(payload + head);
        known *message = &world.of[peer][me][name_of(payload + head, name_size)].messages[number];
        const size_t body = (size_t)head + name_size + 1;
        char *bytes = malloc(LONGEST);
        assert(world.takes[me] && message->wanted && !message->sent && message->size == (int)(announced - body));
        fill(bytes, message->size, number);
        digest_of(expected, number, message->size);
        assert(strcmp(digest, expected) == 0 && memcmp(payload + body, bytes, (size_t)message->size) == 0);
        message->sent = true;
        free(bytes);
    }
    free(payload);
    return true;
}

static const link_sink sink = {.takes = takes, .send = send_frame};

/* -- what is done --------------------------------------------------------------------------------------------------- */

/* A bundle of these frames, in memory of its own. */
static bundle *bundle_with(const char *payload, size_t size)
{
    bundle *made = bundle_new(FRAME_HEADER + size);
    frame_header(made->data, size);
    memcpy(made->data + FRAME_HEADER, payload, size);
    made->size = FRAME_HEADER + size;
    return made;
}

/* Whether it was carried out; room: bytes that may be taken. */
static bool hear(unsigned task, const char *payload, size_t size, size_t room)
{
    bundle *heard = bundle_with(payload, size);
    size_t at = 0;
    link_allowance allowed = {.size = room, .messages = room ? 5 : 0, .order = 1};
    if (!chance(8))
        assert(!link_read(world.streams, &world.replaced[task], heard, &at, &allowed) && !at);
    const bool done = link_read(world.streams, &world.ends[task], heard, &at, &allowed);
    assert(at == (done ? heard->size : 0));
    bundle_release(heard);
    return done;
}

static void send_message(unsigned task, unsigned peer, int name, unsigned number)
{
    char payload[LONGEST + 300], digest[LINK_DIGEST + 1] = "";
    const int size = (int)(chance(4) ? chance(200) : chance(200) * 20);
    modelled *stream = &world.of[task][peer][name];
    known *message = &stream->messages[number];
    digest_of(digest, number, size);
    const int head = sprintf(payload, "WHOLE:%u:%u:%s:%s", peer, number, digest, NAME[name]) + 1;
    fill(payload + head, size, number);
    const size_t room = chance(8) ? SIZE_MAX : 100;
    const known before = *message;
    message->size = size; /* it may be delivered before the call returns */
    world.answers = 0;
    if (hear(task, payload, (size_t)(head + size), room)) {
        assert(stream->stream && !stream->closed && before.size < 0 && (size_t)size <= room && world.takes[task]);
        assert(number >= stream->first && world.answers == 1);
    } else {
        assert(world.answers == 0 && message->sent == before.sent);
        *message = before;
    }
}

static void want_message(unsigned task, unsigned peer, int name, unsigned number)
{
    char payload[300];
    modelled *stream = &world.of[peer][task][name];
    known *message = &stream->messages[number];
    const int size = sprintf(payload, "WANT:%u:%u:%s", peer, number, NAME[name]);
    const known before = *message;
    message->wanted = true;
    if (hear(task, payload, (size_t)size, 0))
        assert(stream->stream && !stream->closed && !before.wanted && !before.taken && number >= stream->first);
    else
        *message = before;
}

static void acknowledge_message(unsigned task, unsigned peer, int name, unsigned number)
{
    char payload[300];
    modelled *stream = &world.of[peer][task][name];
    known *message = &stream->messages[number];
    const int size = sprintf(payload, "ACK:%u:%u:%s", peer, number, NAME[name]);
    const bool may = stream->stream && !stream->closed && message->sent && !message->acknowledged && !message->taken;
    assert(hear(task, payload, (size_t)size, 0) == may);
    message->acknowledged |= may;
}

/* Its messages are the model's, those that may be taken are taken. */
static void look_at(modelled *stream, bool all)
{
    uint64_t first;
    link_message *messages;
    const size_t count = link_stream_messages(stream->stream, &first, &messages);
    for (size_t at = 0; at < count; at++) {
        const uint64_t number = first + at;
        assert(number < NUMBERS + LINK_AHEAD + 1);
        if (number >= NUMBERS)
            continue;
        known *message = &stream->messages[number];
        assert((messages[at].frame != NULL) == (message->size >= 0 && !message->taken));
        if (!messages[at].frame)
            continue;
        char expected[LINK_DIGEST + 1] = "";
        digest_of(expected, (unsigned)number, message->size);
        assert(link_message_size(&messages[at]) == (size_t)message->size);
        assert(memcmp(link_message_digest(stream->stream, &messages[at]), expected, LINK_DIGEST) == 0);
        assert(messages[at].wanted == message->wanted && messages[at].sent == message->sent);
        assert(messages[at].acknowledged == message->acknowledged);
        if (all || message->acknowledged)
            messages[at].moved = message->taken = true;
    }
    link_stream_trim(stream->stream);
}

static void forget(modelled *stream)
{
    if (stream->stream)
        link_stream_free(stream->stream);
    stream->stream = NULL;
    stream->closed = false;
    for (unsigned number = 0; number < NUMBERS; number++)
        stream->messages[number] = (known){.size = -1};
}

static void change_stream(unsigned task, unsigned peer, modelled *stream, int name)
{
    if (!stream->stream) {
        stream->first = 1 + chance(5);
        stream->stream = link_stream_new(world.streams, &world.ends[task], &world.ends[peer], NAME[name],
                                         strlen(NAME[name]), stream->first);
        assert(stream->stream);
        assert(!link_stream_new(world.streams, &world.ends[task], &world.ends[peer], NAME[name], strlen(NAME[name]), 1));
        return;
    }
    switch (chance(4)) {
    case 0:
        link_stream_close(stream->stream);
        stream->closed = true;
        look_at(stream, true);
        break;
    case 1:
        forget(stream);
        break;
    default:
        look_at(stream, false);
    }
}

static void check(void)
{
    unsigned waited[TASKS] = {0};
    for (unsigned sender = 0; sender < TASKS; sender++)
        for (unsigned receiver = 0; receiver < TASKS; receiver++)
            for (int name = 0; name < NAMES; name++) {
                const modelled *stream = &world.of[sender][receiver][name];
                for (unsigned number = 0; stream->stream && !stream->closed && number < NUMBERS; number++) {
                    const known *message = &stream->messages[number];
                    waited[receiver] += message->wanted && !message->acknowledged;
                    assert(!(world.takes[receiver] && message->wanted && message->size >= 0 && !message->sent));
                }
            }
    for (unsigned task = 0; task < TASKS; task++)
        assert(world.ends[task].waited == waited[task]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input = data;
    input_end = data + size;
    memset(&world, 0, sizeof world);
    world.streams = link_streams_new(&sink);
    for (unsigned task = 0; task < TASKS; task++) {
        world.ends[task] = (link_end){.task = task, .user = &world.ends[task]};
        world.replaced[task] = world.ends[task];
        world.takes[task] = true;
        for (unsigned peer = 0; peer < TASKS; peer++)
            for (int name = 0; name < NAMES; name++)
                forget(&world.of[task][peer][name]);
    }
    while (input < input_end) {
        const unsigned what = chance(32), task = chance(TASKS), peer = chance(TASKS);
        const int name = (int)chance(NAMES);
        const unsigned number = chance(16) ? 1 + chance(8) : chance(NUMBERS);
        if (what < 9)
            send_message(task, peer, name, number);
        else if (what < 18)
            want_message(task, peer, name, number);
        else if (what < 27)
            acknowledge_message(task, peer, name, number);
        else if (what == 27) {
            world.takes[task] = !world.takes[task];
            if (world.takes[task])
                link_resume(&world.ends[task]);
        } else if (what == 28) { /* bytes as they are: no stream has these */
            const size_t left = (size_t)(input_end - input), some = left < 40 ? left : 40;
            const link_tally before = *link_streams_tally(world.streams);
            char raw[60] = "WANT:1";
            const size_t head = chance(3) * 3;
            memcpy(raw + head, input, some);
            (void)hear(task, raw, head + some, SIZE_MAX);
            assert(memcmp(&before, link_streams_tally(world.streams), sizeof before) == 0);
            input += some;
        } else
            change_stream(task, peer, &world.of[task][peer][name], name);
        check();
    }
    const link_tally told = *link_streams_tally(world.streams);
    assert(told.sent == world.sent && told.acknowledged <= told.size);
    for (unsigned task = 0; task < TASKS; task++)
        for (unsigned peer = 0; peer < TASKS; peer++)
            for (int each = 0; each < NAMES; each++)
                forget(&world.of[task][peer][each]);
    for (unsigned task = 0; task < TASKS; task++)
        assert(!world.ends[task].stalled && !world.ends[task].waited);
    link_streams_free(world.streams);
    return 0;
}

#ifndef WITH_LIBFUZZER
int main(int count, char **words)
{
    if (count != 3) {
        fprintf(stderr, "usage: fuzz_links SECONDS SEED\n");
        return 2;
    }
    const time_t end = time(NULL) + atoi(words[1]);
    unsigned seed = (unsigned)atoi(words[2]);
    static uint8_t data[LONGEST];
    unsigned long inputs = 0;
    for (; time(NULL) < end; inputs++) {
        const size_t size = (size_t)rand_r(&seed) % LONGEST;
        for (size_t at = 0; at < size; at++)
            data[at] = (uint8_t)(rand_r(&seed) >> 8);
        LLVMFuzzerTestOneInput(data, size);
    }
    printf("%lu inputs of links in C, nothing broke\n", inputs);
    return 0;
}
#endif
