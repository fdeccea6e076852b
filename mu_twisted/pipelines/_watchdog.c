/* A thread that watches calls of pipelines' code without the interpreter's lock, so that it sees one that never gives
 * that lock back. It reads the page of _guard.py, interrupts the main thread, and in the end ends the process. It knows
 * no job and no pipeline: what it says of them stands in the page. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The page's words, as in _guard.py. */
enum { GENERATION = 1, TASK = 2, START = 3, AIMED = 4, ELAPSED = 5, CAUSE = 6, JOB = 16, WORDS = 64 };
#define JOB_BYTES 128
#define FROZEN 1
#define PLACES 4
#define DUMP_MS 10
#define QUIET_DUMPS 100
#define MOST_DUMPS 500
#define MAX_TRACE 8192

static struct {
    pthread_t thread;
    pthread_t main;
    pthread_mutex_t lock;
    pthread_cond_t ends;
    int running;
    Py_buffer page;
    uint64_t soft_ms, hard_ms, tick_ms;
    int trace;
    int interrupt, dump;
    char skipped[PLACES][1024]; /* directories whose frames tell a pipeline's author nothing */
    int skips;
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t word(int at) { return __atomic_load_n((uint64_t *)watch.page.buf + at, __ATOMIC_ACQUIRE); }

static void set_word(int at, uint64_t value) {
    __atomic_store_n((uint64_t *)watch.page.buf + at, value, __ATOMIC_RELEASE);
}

static void pause_ms(uint64_t ms) {
    struct timespec span = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&span, NULL);
}

/* Whether a line of the trace is a frame of the author's: `  File "PATH", line N in NAME`. */
static int is_frame(const char *line, int authors) {
    static const char start[] = "  File \"";
    if (strncmp(line, start, sizeof start - 1) != 0) return 0;
    line += sizeof start - 1;
    if (!authors) return 1;
    if (strncmp(line, "<frozen", 7) == 0) return 0;
    if (strstr(line, "site-packages") != NULL) return 1;
    for (int at = 0; at < watch.skips; at++)
        if (strncmp(line, watch.skipped[at], strlen(watch.skipped[at])) == 0) return 0;
    return 1;
}

/* Where the main thread is, as errors name it: "mine.py line 4, in task"; empty if the trace does not say. Returns
 * whether that is in the author's code. */
static int find_place(char *place, size_t size) {
    static char trace[MAX_TRACE + 1];
    ssize_t length = pread(watch.trace, trace, MAX_TRACE, 0);
    place[0] = 0;
    if (length <= 0) return 0;
    trace[length] = 0;
    for (int authors = 1; authors >= 0; authors--) {
        for (char *line = trace, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
            *end = 0;
            if (is_frame(line, authors)) {
                char path[1024], name[256];
                unsigned number;
                if (sscanf(line, "  File \"%1023[^\"]\", line %u in %255s", path, &number, name) == 3) {
                    const char *slash = strrchr(path, '/');
                    snprintf(place, size, " at %s line %u, in %s", slash ? slash + 1 : path, number, name);
                    return authors;
                }
            }
            *end = '\n';
        }
    }
    return 0;
}

/* Have the main thread write its trace, and wait for it: a thread that has no processor writes late, and in parts. */
static void ask_place(char *place, size_t size) {
    off_t before = 0;
    pthread_kill(watch.main, watch.dump);
    for (int looks = 0, quiet = 0; looks < MOST_DUMPS && quiet < QUIET_DUMPS; looks++) {
        pause_ms(DUMP_MS);
        if (find_place(place, size)) return;
        struct stat found;
        if (fstat(watch.trace, &found) || found.st_size == 0) continue;
        quiet = found.st_size == before ? quiet + 1 : 0;
        before = found.st_size;
    }
}

static void end_process(void) {
    char job[JOB_BYTES], place[1400], line[2048], whose[JOB_BYTES + 64];
    ask_place(place, sizeof place);
    memcpy(job, (const char *)watch.page.buf + JOB * sizeof(uint64_t), sizeof job);
    job[sizeof job - 1] = 0;
    set_word(CAUSE, FROZEN);
    if (!job[0])
        snprintf(whose, sizeof whose, "a pipeline's code");
    else if (word(TASK))
        snprintf(whose, sizeof whose, "job %s, task %llu: its code", job, (unsigned long long)word(TASK) - 1);
    else
        snprintf(whose, sizeof whose, "job %s: its pipeline's code", job);
    int length = snprintf(line, sizeof line,
                          "error: %s did not yield for %.3g s%s, so the process ends: a pipeline must not block, its "
                          "worker's commands may\n",
                          whose, (double)watch.hard_ms / 1000, place);
    if (write(STDERR_FILENO, line, (size_t)length) < 0) { /* then the next start says it */
    }
    _exit(1);
}

/* Whether the main thread has a processor or waits for one: it does not block then, and only what it has had of
 * processors counts. Not where the system does not say so. The process is in the state of its main thread. */
static int is_runnable(int stat) {
    char text[512];
    ssize_t length = pread(stat, text, sizeof text - 1, 0);
    if (length <= 0) return 0;
    text[length] = 0;
    const char *name_ends = strrchr(text, ')');
    return name_ends != NULL && strncmp(name_ends, ") R", 3) == 0;
}

static uint64_t used_us(clockid_t clock) {
    struct timespec used;
    return clock_gettime(clock, &used) ? 0 : (uint64_t)used.tv_sec * 1000000 + (uint64_t)used.tv_nsec / 1000;
}

static void *run(void *unused) {
    (void)unused;
    uint64_t seen = 0, elapsed_us = 0, used = 0;
    int is_new = 1, stat = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    clockid_t clock;
    if (pthread_getcpuclockid(watch.main, &clock)) clock = CLOCK_PROCESS_CPUTIME_ID;
    pthread_mutex_lock(&watch.lock);
    while (watch.running) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        uint64_t ns = (uint64_t)until.tv_nsec + watch.tick_ms * 1000000;
        until.tv_sec += (time_t)(ns / 1000000000);
        until.tv_nsec = (long)(ns % 1000000000);
        pthread_cond_timedwait(&watch.ends, &watch.lock, &until);
        if (!watch.running) break;
        uint64_t generation = word(GENERATION);
        uint64_t before = used;
        if (generation & 1) used = used_us(clock);
        if (!(generation & 1) || generation != seen) {
            seen = generation;
            elapsed_us = 0;
            is_new = 1;
            continue;
        }
        /* Ticks are counted, not a clock read: a process that was stopped meanwhile has not blocked. */
        if (is_new) {
            clock_gettime(CLOCK_REALTIME, &until);
            set_word(START, (uint64_t)until.tv_sec * 1000 - watch.tick_ms);
            is_new = 0;
        }
        uint64_t tick = watch.tick_ms * 1000;
        elapsed_us += is_runnable(stat) && used - before < tick ? used - before : tick;
        uint64_t elapsed = elapsed_us / 1000;
        set_word(ELAPSED, elapsed);
        if (elapsed >= watch.hard_ms) end_process();
        if (elapsed >= watch.soft_ms) {
            set_word(AIMED, generation);
            pthread_kill(watch.main, watch.interrupt);
        }
    }
    pthread_mutex_unlock(&watch.lock);
    if (stat >= 0) close(stat);
    return NULL;
}

static PyObject *start(PyObject *module, PyObject *args) {
    (void)module;
    unsigned long main_thread;
    double soft, hard;
    PyObject *skipped;
    if (watch.running) {
        PyErr_SetString(PyExc_RuntimeError, "the watchdog runs already");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "w*kddiiiO!", &watch.page, &main_thread, &soft, &hard, &watch.trace, &watch.interrupt,
                          &watch.dump, &PyTuple_Type, &skipped))
        return NULL;
    if (watch.page.len < (Py_ssize_t)(WORDS * sizeof(uint64_t)) || PyTuple_GET_SIZE(skipped) > PLACES ||
        !(soft > 0 && hard > soft)) {
        PyErr_SetString(PyExc_ValueError, "the page is too small, the limits are wrong, or there are too many places");
        goto refused;
    }
    watch.skips = (int)PyTuple_GET_SIZE(skipped);
    for (int at = 0; at < watch.skips; at++) {
        const char *text = PyUnicode_AsUTF8(PyTuple_GET_ITEM(skipped, at));
        if (text == NULL) goto refused;
        snprintf(watch.skipped[at], sizeof watch.skipped[at], "%s", text);
    }
    watch.main = (pthread_t)main_thread;
    watch.soft_ms = (uint64_t)(soft * 1000);
    watch.hard_ms = (uint64_t)(hard * 1000);
    watch.tick_ms = watch.soft_ms / 5 < 10 ? 10 : watch.soft_ms / 5 > 100 ? 100 : watch.soft_ms / 5;
    watch.running = 1;
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&watch.ends, &clock);
    pthread_condattr_destroy(&clock);
    /* All signals are other threads' affair. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&watch.thread, NULL, run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        watch.running = 0;
        errno = failed;
        PyErr_SetFromErrno(PyExc_OSError);
        goto refused;
    }
    Py_RETURN_NONE;
refused:
    PyBuffer_Release(&watch.page);
    return NULL;
}

static PyObject *stop(PyObject *module, PyObject *unused) {
    (void)module;
    (void)unused;
    pthread_mutex_lock(&watch.lock);
    int running = watch.running;
    watch.running = 0;
    if (running) pthread_cond_signal(&watch.ends);
    pthread_mutex_unlock(&watch.lock);
    if (running) {
        Py_BEGIN_ALLOW_THREADS
        pthread_join(watch.thread, NULL);
        Py_END_ALLOW_THREADS
        pthread_cond_destroy(&watch.ends);
        PyBuffer_Release(&watch.page);
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"start", start, METH_VARARGS, "Start the thread."},
    {"stop", stop, METH_NOARGS, "Stop it, if it runs."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_watchdog", .m_size = -1, .m_methods = methods};

PyMODINIT_FUNC PyInit__watchdog(void) { return PyModule_Create(&definition); }
