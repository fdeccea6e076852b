/* A benchmark in the manner of LINPACK: solves dense systems of linear equations by Gaussian elimination with partial
 * pivoting, in double precision, and says how many floating-point operations a second that makes. It counts, as
 * LINPACK does, 2/3 n^3 + 2 n^2 of them for a system of order n, whatever was really done. */

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LARGEST 10000
#define WELL 100.0 /* a residual above this, in units of rounding errors, is a wrong result */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Evenly from -0.5 to 0.5, the same in each run. */
static double drawn(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(*state >> 11) / 9007199254740992.0 - 0.5;
}

/* Columns lie one after the other; the right-hand side is the sum of each row, so that all unknowns are 1. */
static void make_system(size_t n, double *a, double *b)
{
    uint64_t state = 1;
    memset(b, 0, n * sizeof *b);
    for (size_t j = 0; j < n; j++)
        for (size_t i = 0; i < n; i++) {
            a[j * n + i] = drawn(&state);
            b[i] += a[j * n + i];
        }
}

static void swap(double *x, double *y)
{
    double kept = *x;
    *x = *y;
    *y = kept;
}

/* Factors a into its lower and upper triangle and solves for b, both in place; returns whether a is regular. */
static int solve(size_t n, double *restrict a, double *restrict b)
{
    for (size_t k = 0; k < n; k++) {
        double *column = a + k * n;
        size_t pivot = k;
        for (size_t i = k + 1; i < n; i++)
            if (fabs(column[i]) > fabs(column[pivot]))
                pivot = i;
        if (column[pivot] == 0.0)
            return 0;
        swap(&b[k], &b[pivot]);
        for (size_t j = k; j < n; j++)
            swap(&a[j * n + k], &a[j * n + pivot]);
        for (size_t i = k + 1; i < n; i++)
            column[i] /= column[k];
        for (size_t j = k + 1; j < n; j++) {
            double *other = a + j * n, factor = other[k];
            for (size_t i = k + 1; i < n; i++)
                other[i] -= factor * column[i];
        }
        for (size_t i = k + 1; i < n; i++)
            b[i] -= b[k] * column[i];
    }
    for (size_t k = n; k-- > 0;) {
        b[k] /= a[k * n + k];
        for (size_t i = 0; i < k; i++)
            b[i] -= b[k] * a[k * n + i];
    }
    return 1;
}

/* Largest error of a x = b, in units of what rounding explains. */
static double residual(size_t n, double *a, double *b, const double *x)
{
    double largest = 0, norm = 0, length = 0;
    make_system(n, a, b);
    for (size_t j = 0; j < n; j++)
        for (size_t i = 0; i < n; i++) {
            b[i] -= a[j * n + i] * x[j];
            norm = fmax(norm, fabs(a[j * n + i]));
        }
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(b[i]));
        length = fmax(length, fabs(x[i]));
    }
    return largest / ((double)n * norm * length * DBL_EPSILON);
}

static double number(const char *text, double low, double high)
{
    char *end;
    double value = strtod(text, &end);
    if (*text != '\0' && *end == '\0' && value >= low && value <= high)
        return value;
    fprintf(stderr, "linpack: expected a number from %g to %g, got %s\n", low, high, text);
    exit(2);
}

int main(int argc, char **argv)
{
    if (argc > 3) {
        fprintf(stderr, "usage: linpack [ORDER [SECONDS]]\n");
        return 2;
    }
    size_t n = argc > 1 ? (size_t)number(argv[1], 1, LARGEST) : 1000, solved = 0;
    double least = argc > 2 ? number(argv[2], 0, 3600) : 1.0, spent = 0;
    double *a = malloc(n * n * sizeof *a), *b = malloc(n * sizeof *b), *x = malloc(n * sizeof *x);
    if (a == NULL || b == NULL || x == NULL) {
        fprintf(stderr, "linpack: no memory for a system of order %zu\n", n);
        return 1;
    }
    do {
        make_system(n, a, x);
        double begin = now();
        if (!solve(n, a, x)) {
            fprintf(stderr, "linpack: the matrix is singular\n");
            return 1;
        }
        spent += now() - begin;
        solved++;
    } while (spent < least);
    double error = residual(n, a, b, x), order = (double)n;
    double operations = (double)solved * (2.0 / 3.0 * order * order * order + 2.0 * order * order);
    printf("order %zu, solved %zu times in %.3f s, residual %.2f\n", n, solved, spent, error);
    if (!(error < WELL)) {
        fprintf(stderr, "linpack: the result is wrong\n");
        return 1;
    }
    printf("rate: %.1f MFLOPS\n", operations / spent / 1e6);
    return 0;
}
