/* Records of 100 bytes, as sorting benchmarks have them: a key of 10 bytes, then what belongs to it.
 *
 *   records make FIRST COUNT          writes records FIRST .. FIRST+COUNT-1 of one endless random sequence
 *   records split PARTS NAME FILE     writes each record of FILE to NAME.0 .. NAME.(PARTS-1), by the range of its key
 *   records merge FILE...             writes the records of all files, sorted by their keys
 *   records check FILE                prints COUNT, SUM, first and last key of a file, which must be sorted
 *
 * SUM is the sum of a hash of each record, so it does not depend on their order: what was lost, doubled or changed on
 * the way shows in it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <unistd.h>

enum { KEY = 10, RECORD = 100 };

static void die(const char *what) {
    fprintf(stderr, "records: %s\n", what);
    exit(1);
}

/* splitmix64: a number that looks random, of any number. */
static uint64_t mix(uint64_t number) {
    number += 0x9e3779b97f4a7c15u;
    number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9u;
    number = (number ^ (number >> 27)) * 0x94d049bb133111ebu;
    return number ^ (number >> 31);
}

static uint64_t hash(const unsigned char *record) {
    uint64_t sum = 0;
    for (int at = 0; at < RECORD; at += 4) {
        uint32_t word;
        memcpy(&word, record + at, sizeof word);
        sum = mix(sum ^ word);
    }
    return sum;
}

static void put(FILE *out, const void *data, size_t size) {
    if (fwrite(data, 1, size, out) != size)
        die("cannot write");
}

static void close_out(FILE *out) {
    if (fclose(out) != 0)
        die("cannot write");
}

struct file {
    const unsigned char *records;
    size_t count;
};

static struct file map(const char *path) {
    struct stat status;
    int descriptor = open(path, O_RDONLY);
    if (descriptor < 0 || fstat(descriptor, &status) != 0)
        die("cannot open a file");
    if (status.st_size % RECORD)
        die("a file does not hold whole records");
    struct file found = {NULL, (size_t)status.st_size / RECORD};
    if (found.count) {
        void *at = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
        if (at == MAP_FAILED)
            die("cannot read a file");
        found.records = at;
    }
    close(descriptor);
    return found;
}

static void make(uint64_t first, uint64_t count) {
    unsigned char record[RECORD];
    for (uint64_t number = first; number < first + count; number++) {
        uint64_t seed = mix(number);
        for (int at = 0; at < RECORD; at += 8) {
            uint64_t word = mix(seed + (uint64_t)at);
            memcpy(record + at, &word, RECORD - at < 8 ? (size_t)(RECORD - at) : 8);
        }
        put(stdout, record, RECORD);
    }
}

static void split(size_t parts, const char *name, const char *path) {
    if (parts < 1 || parts > 4096)
        die("1 to 4096 parts");
    struct file in = map(path);
    FILE **out = calloc(parts, sizeof *out);
    char *target = malloc(strlen(name) + 16);
    if (!out || !target)
        die("no memory");
    for (size_t part = 0; part < parts; part++) {
        sprintf(target, "%s.%zu", name, part);
        if (!(out[part] = fopen(target, "wb")))
            die("cannot write a part");
    }
    for (size_t at = 0; at < in.count; at++) {
        const unsigned char *record = in.records + at * RECORD;
        uint64_t key = 0;
        for (int byte = 0; byte < 4; byte++)
            key = key << 8 | record[byte];
        put(out[key * parts >> 32], record, RECORD);
    }
    for (size_t part = 0; part < parts; part++)
        close_out(out[part]);
    free(target);
    free(out);
}

static int by_key(const void *one, const void *other) {
    return memcmp(*(const unsigned char *const *)one, *(const unsigned char *const *)other, RECORD);
}

static void merge(int files, char **paths) {
    struct file *in = calloc((size_t)files + 1, sizeof *in);
    size_t count = 0, at = 0;
    if (!in)
        die("no memory");
    for (int file = 0; file < files; file++)
        count += (in[file] = map(paths[file])).count;
    const unsigned char **order = malloc((count + 1) * sizeof *order);
    if (!order)
        die("no memory");
    for (int file = 0; file < files; file++)
        for (size_t one = 0; one < in[file].count; one++)
            order[at++] = in[file].records + one * RECORD;
    qsort(order, count, sizeof *order, by_key);
    for (size_t one = 0; one < count; one++)
        put(stdout, order[one], RECORD);
    free(order);
    free(in);
}

static void print_key(const unsigned char *record) {
    putchar(' ');
    for (int byte = 0; byte < KEY; byte++)
        printf("%02x", record[byte]);
}

static void check(const char *path) {
    struct file in = map(path);
    uint64_t sum = 0;
    for (size_t at = 0; at < in.count; at++) {
        const unsigned char *record = in.records + at * RECORD;
        if (at && memcmp(record - RECORD, record, KEY) > 0)
            die("the records are not sorted");
        sum += hash(record);
    }
    printf("%zu %016" PRIx64, in.count, sum);
    if (in.count) {
        print_key(in.records);
        print_key(in.records + (in.count - 1) * RECORD);
    }
    putchar('\n');
}

int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "";
    if (!strcmp(what, "make") && count == 4)
        make(strtoull(words[2], NULL, 10), strtoull(words[3], NULL, 10));
    else if (!strcmp(what, "split") && count == 5)
        split(strtoull(words[2], NULL, 10), words[3], words[4]);
    else if (!strcmp(what, "merge"))
        merge(count - 2, words + 2);
    else if (!strcmp(what, "check") && count == 3)
        check(words[2]);
    else
        die("usage: records make FIRST COUNT | split PARTS NAME FILE | merge FILE... | check FILE");
    close_out(stdout);
    return 0;
}
