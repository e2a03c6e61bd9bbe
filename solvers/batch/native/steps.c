/* Explicit steps of several runs at once, one cache line of a row's values at a time. */

#include <stdint.h>
#include <stddef.h>
#include <string.h>

#include "steps.h"

/* Ahead of a wave's front values fall below the smallest normal number; arithmetic on those is many times slower on
   some processors, and they mean nothing. */
#if defined(__SSE2__)
#include <xmmintrin.h>
static unsigned flush_denormals(void) {
    unsigned mode = _mm_getcsr();
    _mm_setcsr(mode | 0x8040); /* flush to zero, denormals are zero */
    return mode;
}
static void restore_mode(unsigned mode) { _mm_setcsr(mode); }
#else
static unsigned flush_denormals(void) { return 0; }
static void restore_mode(unsigned mode) { (void)mode; }
#endif

/* One run's sum over a row is too short to be worth vectors, and with them it would be rounded in another way. */
#if defined(__GNUC__) && !defined(__clang__)
#define IN_ORDER __attribute__((optimize("no-tree-vectorize")))
#define SHUFFLES
#else
#define IN_ORDER
#endif

/* The first of ascending numbers that is not below a value. */
static int64_t lower_bound(const int32_t *numbers, int64_t count, int64_t value) {
    int64_t low = 0;
    while (low < count) {
        int64_t middle = (low + count) / 2;
        if (numbers[middle] < value) low = middle + 1; else count = middle;
    }
    return low;
}

#define REAL double
#define INTEGER int64_t
#define WIDTH 1
#define NAME(name) name##_double_1
#include "steps_body.h"

#define REAL double
#define INTEGER int64_t
#define WIDTH 8
#define NAME(name) name##_double_8
#include "steps_body.h"

#define REAL float
#define INTEGER int32_t
#define WIDTH 1
#define NAME(name) name##_float_1
#include "steps_body.h"

#define REAL float
#define INTEGER int32_t
#define WIDTH 16
#define NAME(name) name##_float_16
#include "steps_body.h"

/* a = b + scale c: what the memory gives to streams (McCalpin's STREAM triad). */
void triad(int64_t count, double scale, const double *restrict b, const double *restrict c, double *restrict a) {
    for (int64_t i = 0; i < count; i++) a[i] = b[i] + scale * c[i];
}

/* out[n][j] = sum of outer[j][k] (u[n + 2] + u[n]) + inner[j][k] u[n + 1] + odd[j][k] (u[n + 2] - u[n]) over the columns
   of row j: what a three-level scheme makes of a history u, (num_levels + 2, num_columns). */
void three_levels(int64_t num_levels, int64_t num_columns, const double *u, int64_t num_rows, const int32_t *outer_starts,
                  const int32_t *outer_columns, const double *outer, const int32_t *inner_starts,
                  const int32_t *inner_columns, const double *inner, const int32_t *odd_starts,
                  const int32_t *odd_columns, const double *odd, double *out) {
    for (int64_t n = 0; n < num_levels; n++) {
        const double *before = u + n * num_columns, *now = before + num_columns, *after = now + num_columns;
        for (int64_t j = 0; j < num_rows; j++) {
            double sum = 0.0;
            for (int32_t k = outer_starts[j]; k < outer_starts[j + 1]; k++)
                sum += outer[k] * (before[outer_columns[k]] + after[outer_columns[k]]);
            for (int32_t k = inner_starts[j]; k < inner_starts[j + 1]; k++) sum += inner[k] * now[inner_columns[k]];
            for (int32_t k = odd_starts[j]; k < odd_starts[j + 1]; k++)
                sum += odd[k] * (after[odd_columns[k]] - before[odd_columns[k]]);
            out[n * num_rows + j] = sum;
        }
    }
}
