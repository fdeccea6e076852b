/* Fakes of vpxenc and alfalfa's xc-dump, xc-terminate-chunk, xc-enc and comp-states: one program, which of them
 * it is says the name that it is called by. It encodes nothing. What it writes follows from all that it was given,
 * inputs, states and switches, so that a wrong state, a wrong order or a lost message changes the bytes. It takes the
 * same command lines, refuses what the pipeline does not use, and like xc-enc reads its inputs first, then waits for
 * the end of standard input, then reads the state. With the switches of 2016 it does not wait, as no encoder of that time
 * did, and fails where the state is not there; and at an S quantizer of 0 it ends on the same state whatever it began
 * with, so that passes can converge. An IVF file holds in its header's last field which state it was made for, as alfalfa's do, and
 * a prediction that does not go with its state is refused. */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef STATE_BYTES
#define STATE_BYTES 50000 /* of a state; with 1280x720 the real one has some 4 MB */
#endif
#define FRAME_BYTES 3000
#ifndef DIFFER_STATUS
#define DIFFER_STATUS 1 /* comp-states' status where states differ; 0 until September 2016 */
#endif
#define IVF_HEADER 32
#define MADE_FOR 28 /* where in an IVF's header it stands for which state it was made; 0: for none */

static const char *called;

typedef struct {
    unsigned char *data;
    size_t size;
} Bytes;

static _Noreturn void fail(const char *form, ...)
{
    va_list arguments;
    fprintf(stderr, "%s: ", called);
    va_start(arguments, form);
    vfprintf(stderr, form, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static Bytes read_file(const char *path)
{
    Bytes all = {NULL, 0};
    size_t room = 0, got;
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail("cannot open %s: %s", path, strerror(errno));
    do {
        if (all.size == room) {
            room = room ? 2 * room : 1 << 16;
            all.data = realloc(all.data, room);
            if (all.data == NULL)
                fail("no memory for %s", path);
        }
        got = fread(all.data + all.size, 1, room - all.size, file);
        all.size += got;
    } while (got > 0);
    if (ferror(file))
        fail("cannot read %s", path);
    fclose(file);
    return all;
}

static Bytes read_y4m(const char *path)
{
    Bytes video = read_file(path);
    if (video.size < 9 || memcmp(video.data, "YUV4MPEG2", 9) != 0)
        fail("%s is no Y4M", path);
    return video;
}

static Bytes read_ivf(const char *path)
{
    Bytes video = read_file(path);
    if (video.size < IVF_HEADER || memcmp(video.data, "DKIF", 4) != 0)
        fail("%s is no IVF", path);
    return video;
}

#define BASIS UINT64_C(0xcbf29ce484222325)

/* FNV-1a. Lengths go in too, so that a byte cannot move from one ingredient to the next unseen. */
static uint64_t add(uint64_t digest, const void *data, size_t size)
{
    const unsigned char *byte = data;
    for (size_t i = 0; i < size; i++)
        digest = (digest ^ byte[i]) * UINT64_C(0x100000001b3);
    for (size_t rest = size; rest; rest >>= 8)
        digest = (digest ^ (rest & 255)) * UINT64_C(0x100000001b3);
    return digest;
}

static uint64_t add_text(uint64_t digest, const char *text) { return add(digest, text, strlen(text)); }

static uint64_t add_bytes(uint64_t digest, Bytes bytes) { return add(digest, bytes.data, bytes.size); }

static uint64_t new_digest(void) { return add_text(BASIS, called); }

static uint32_t name_of(Bytes state)
{
    uint32_t name = (uint32_t)(add_bytes(BASIS, state) >> 16);
    return name ? name : 1;
}

static void put(unsigned char *at, int size, uint64_t value)
{
    for (int i = 0; i < size; i++)
        at[i] = (unsigned char)(value >> 8 * i);
}

static void write_file(const char *path, const unsigned char *head, size_t size, size_t more, uint64_t seed)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        fail("cannot write %s: %s", path, strerror(errno));
    fwrite(head, 1, size, file);
    while (more > 0) { /* splitmix64: does not compress */
        unsigned char block[8];
        size_t part = more < 8 ? more : 8;
        uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        put(block, 8, z ^ (z >> 31));
        fwrite(block, 1, part, file);
        more -= part;
    }
    if (ferror(file) || fclose(file) != 0)
        fail("cannot write %s", path);
}

static void write_state(const char *path, uint64_t digest)
{
    write_file(path, (const unsigned char *)"STATE\n", 6, STATE_BYTES - 6, add_text(digest, "state"));
}

static void write_ivf(const char *path, uint64_t digest, uint32_t made_for)
{
    unsigned char head[IVF_HEADER + 12] = "DKIF\0\0\x20\0VP80";
    put(head + 12, 2, 16);
    put(head + 14, 2, 16);
    put(head + 16, 4, 24);
    put(head + 20, 4, 1);
    put(head + 24, 4, 1);
    put(head + MADE_FOR, 4, made_for);
    put(head + IVF_HEADER, 4, FRAME_BYTES);
    write_file(path, head, sizeof head, FRAME_BYTES, add_text(digest, "ivf"));
}

static int vpxenc(int argc, char **argv)
{
    static const char *const flags[] = {"--ivf", "-q", "--good", NULL};
    static const char *const valued[] = {
        "--codec=", "--cpu-used=", "--end-usage=", "--min-q=", "--max-q=", "--cq-level=", "--buf-initial-sz=",
        "--buf-optimal-sz=", "--buf-sz=", "--undershoot-pct=", "--passes=", "--auto-alt-ref=", "--threads=",
        "--token-parts=", "--tune=", "--target-bitrate=", NULL};
    const char *output = NULL, *input = NULL;
    uint64_t digest = new_digest();
    for (int i = 1; i < argc; i++) {
        int known = 0;
        if (strcmp(argv[i], "-o") == 0 && i + 1 < argc) {
            output = argv[++i];
            continue;
        }
        if (argv[i][0] != '-' && input == NULL) {
            input = argv[i];
            continue;
        }
        for (const char *const *flag = flags; *flag; flag++)
            known |= strcmp(argv[i], *flag) == 0;
        for (const char *const *each = valued; *each; each++)
            known |= strncmp(argv[i], *each, strlen(*each)) == 0 && argv[i][strlen(*each)] != '\0';
        if (!known)
            fail("unrecognized option %s", argv[i]);
        digest = add_text(digest, argv[i]);
    }
    if (output == NULL || input == NULL)
        fail("expected -o OUTPUT INPUT");
    write_ivf(output, add_bytes(digest, read_y4m(input)), 0);
    return 0;
}

static int xc_dump(int argc, char **argv)
{
    if (argc != 3 || argv[1][0] == '-')
        fail("expected IVF STATE");
    write_state(argv[2], add_bytes(new_digest(), read_ivf(argv[1])));
    return 0;
}

static int xc_terminate_chunk(int argc, char **argv)
{
    if (argc != 4 || argv[1][0] == '-')
        fail("expected IVF-IN IVF-OUT STATE");
    uint64_t digest = add_bytes(new_digest(), read_ivf(argv[1]));
    write_ivf(argv[2], digest, 0);
    write_state(argv[3], digest);
    return 0;
}

static int encode(const char *const *given, const char *input)
{
    if (given['r'] || given['I'] || given['p'] || given['S'] || given['w'] || given['s'] || given['e'])
        fail("a first encode takes no state and no prediction");
    uint64_t digest = add_text(new_digest(), given['y'] ? given['y'] : "");
    digest = add_bytes(digest, read_y4m(input));
    write_ivf(given['o'], digest, 0);
    write_state(given['O'], digest);
    return 0;
}

static void wait_for_end_of_input(void)
{
    char rest[64];
    ssize_t got;
    while ((got = read(STDIN_FILENO, rest, sizeof rest)) != 0)
        if (got < 0 && errno != EINTR)
            fail("cannot read standard input: %s", strerror(errno));
}

static int rebase(const char *const *given, const char *input)
{
    uint64_t digest = add_text(new_digest(), given['w'] ? given['w'] : "1.0");
    digest = add_bytes(digest, read_y4m(input));
    if (given['e'])
        digest = add_text(digest, "-e");
    if (given['s'])
        digest = add_text(digest, given['s']);
    uint64_t forgetful = digest;
    Bytes prediction = read_ivf(given['p']);
    unsigned char made_for[4] = {0};
    if (given['S']) {
        Bytes state = read_file(given['S']);
        put(made_for, 4, name_of(state));
        digest = add_bytes(add_text(digest, "-S"), state);
    }
    if (memcmp(prediction.data + MADE_FOR, made_for, 4) != 0)
        fail("Mismatch between prediction IVF and prediction_ivf_initial_state");
    digest = add_bytes(digest, prediction);
    if (!given['s'])
        wait_for_end_of_input();
    Bytes state = read_file(given['I']);
    digest = add_bytes(digest, state);
    write_ivf(given['o'], digest, name_of(state));
    write_state(given['O'], given['s'] && strcmp(given['s'], "0") == 0 ? forgetful : digest);
    return 0;
}

static int xc_enc(int argc, char **argv)
{
    static const struct option options[] = {
        {"output", 1, NULL, 'o'},     {"input-format", 1, NULL, 'i'},      {"output-state", 1, NULL, 'O'},
        {"input-state", 1, NULL, 'I'}, {"reencode", 0, NULL, 'r'},         {"pred-ivf", 1, NULL, 'p'},
        {"pred-state", 1, NULL, 'S'}, {"kf-q-weight", 1, NULL, 'w'},       {"extra-frame-chunk", 0, NULL, 'e'},
        {"y-ac-qi", 1, NULL, 'y'},    {"s-ac-qi", 1, NULL, 's'},           {NULL, 0, NULL, 0}};
    const char *given[128] = {NULL};
    int option;
    while ((option = getopt_long(argc, argv, "o:i:O:I:rp:S:w:ey:", options, NULL)) != -1) {
        if (option == '?')
            return 1;
        given[option] = optarg ? optarg : "";
    }
    if (optind + 1 != argc || !given['o'] || !given['O'])
        fail("expected -o OUTPUT -O STATE INPUT");
    if (given['i'] == NULL || strcmp(given['i'], "y4m") != 0)
        fail("unsupported input format");
    if (given['y'])
        return encode(given, argv[optind]);
    if (!given['r'] || !given['I'] || !given['p'])
        fail("expected -r -I STATE -p PREDICTION -o OUTPUT -O STATE INPUT");
    return rebase(given, argv[optind]);
}

static int comp_states(int argc, char **argv)
{
    if (argc != 3)
        fail("expected STATE STATE");
    Bytes one = read_file(argv[1]), two = read_file(argv[2]);
    size_t both = one.size < two.size ? one.size : two.size, bytes = 0;
    uint64_t bits = 8 * (uint64_t)(one.size + two.size - 2 * both);
    for (size_t i = 0; i < both; i++) {
        bytes += one.data[i] != two.data[i];
        bits += (uint64_t)__builtin_popcount(one.data[i] ^ two.data[i]);
    }
    if (bits == 0)
        puts("0");
    else
        printf("%" PRIu64 " %g\n", bits, (double)bytes / (double)(both ? both : 1));
    return bits != 0 ? DIFFER_STATUS : 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int, char **);
    } tools[] = {{"vpxenc", vpxenc},
                 {"xc-dump", xc_dump},
                 {"xc-terminate-chunk", xc_terminate_chunk},
                 {"xc-enc", xc_enc},
                 {"comp-states", comp_states}};
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    called = slash ? slash + 1 : argc > 0 ? argv[0] : "fake-encoder";
    for (size_t i = 0; i < sizeof tools / sizeof *tools; i++)
        if (strcmp(called, tools[i].name) == 0)
            return tools[i].run(argc, argv);
    fail("call it vpxenc, xc-dump, xc-terminate-chunk, xc-enc or comp-states");
}
