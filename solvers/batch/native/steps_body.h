/* The steps in one precision REAL for WIDTH runs; steps.c includes this once for each pair. A line is one row's values
   of all runs: it is read and written as a whole, so that a row of the matrix is read once for all of them. */

#if WIDTH == 1
typedef REAL NAME(line);
#else
typedef REAL NAME(line) __attribute__((vector_size(WIDTH * sizeof(REAL))));
typedef INTEGER NAME(places) __attribute__((vector_size(WIDTH * sizeof(REAL))));
#endif
#define LINE NAME(line)

/* u+ = A u - d u- for some rows, d = 1. The products of a row are added in one order for every width: a run's numbers do not
   depend on the runs beside it. */
IN_ORDER static void NAME(different)(const struct steps *s, int64_t first, int64_t last, const LINE *restrict now,
                                     LINE *restrict next) {
    const int32_t *restrict starts = s->starts, *restrict columns = s->columns;
    const REAL *restrict values = s->values;
    for (int64_t i = first; i < last; i++) {
        LINE sum = -next[i];
        for (int32_t k = starts[i]; k < starts[i + 1]; k++) sum += values[k] * now[columns[k]];
        next[i] = sum;
    }
}

/* The same with a d of each row. */
IN_ORDER static void NAME(damped)(const struct steps *s, int64_t first, int64_t last, const LINE *restrict now,
                                  LINE *restrict next) {
    const int32_t *restrict starts = s->starts, *restrict columns = s->columns;
    const REAL *restrict values = s->values, *restrict keep = s->keep;
    for (int64_t i = first; i < last; i++) {
        LINE sum = keep[i] * next[i];
        for (int32_t k = starts[i]; k < starts[i + 1]; k++) sum += values[k] * now[columns[k]];
        next[i] = sum;
    }
}

/* Rows that are alike: the same values at the same distances, and the same d. They stay in registers, and a single run's rows go
   through vectors. The sums are those of other rows, in the same order. */
#define SUMS(COUNT, BEFORE)                                                                                            \
    for (int64_t i = first; i < last; i++) {                                                                           \
        LINE sum = BEFORE;                                                                                             \
        for (int k = 0; k < COUNT; k++) sum += value[k] * from[k][i];                                                  \
        next[i] = sum;                                                                                                 \
    }
#define ALIKE(COUNT)                                                                                                   \
    case COUNT: {                                                                                                      \
        REAL value[COUNT];                                                                                             \
        const LINE *from[COUNT];                                                                                       \
        for (int k = 0; k < COUNT; k++) value[k] = values[k], from[k] = now + columns[k] - first;                      \
        if (keep == -1)                                                                                                \
            SUMS(COUNT, -next[i])                                                                                      \
        else                                                                                                           \
            SUMS(COUNT, keep * next[i])                                                                                \
        return;                                                                                                        \
    }

static void NAME(alike)(const struct steps *s, int64_t count, int64_t first, int64_t last, const LINE *restrict now,
                        LINE *restrict next) {
    const int32_t *columns = s->columns + s->starts[first];
    const REAL *values = (const REAL *)s->values + s->starts[first];
    const REAL keep = ((const REAL *)s->keep)[first];
    switch (count) {
        ALIKE(4)
        ALIKE(5)
        ALIKE(6)
        ALIKE(7)
        ALIKE(8)
        ALIKE(9)
    }
}
#undef ALIKE
#undef SUMS

static void NAME(sweep)(const struct steps *s, int64_t first, int64_t last, const LINE *now, LINE *next) {
    int64_t stretch = lower_bound(s->stretch_ends, s->num_stretches, first + 1);
    for (int64_t i = first; i < last; stretch++) {
        int64_t end = s->stretch_ends[stretch] < last ? s->stretch_ends[stretch] : last;
        int64_t count = s->stretch_counts[stretch];
        if (count > 0)
            NAME(alike)(s, count, i, end, now, next);
        else if (count < 0)
            NAME(damped)(s, i, end, now, next);
        else
            NAME(different)(s, i, end, now, next);
        i = end;
    }
}

/* Rates of change at the slot before the one that has just been written, for places from begin to end. */
static void NAME(rate)(const struct steps *s, int64_t slot, int64_t begin, int64_t end) {
    const REAL factor = (REAL)s->rate_factor;
    for (int64_t lane = 0; lane < WIDTH; lane++) {
        const REAL *after = (const REAL *)s->history + lane * s->run_stride + slot * s->num_records;
        const REAL *before = after - 2 * s->num_records;
        REAL *restrict out = (REAL *)s->rates + lane * s->rate_stride + (slot - 2) * s->num_records;
        for (int64_t place = begin; place < end; place++) out[place] = (after[place] - before[place]) * factor;
    }
}

/* Lines of all runs at WIDTH places to WIDTH places of each run: halves change places, then their halves, and so on. */
static inline void NAME(transpose)(LINE *lines) {
#if WIDTH == 1
    (void)lines;
#elif defined(SHUFFLES)
#pragma GCC unroll 8
    for (int half = WIDTH / 2; half; half /= 2) {
        NAME(places) low, high;
#pragma GCC unroll 16
        for (int j = 0; j < WIDTH; j++) {
            low[j] = j & half ? WIDTH + j - half : j;
            high[j] = j & half ? WIDTH + j : j + half;
        }
#pragma GCC unroll 16
        for (int i = 0; i < WIDTH; i++)
            if (!(i & half)) {
                LINE first = lines[i], second = lines[i + half];
                lines[i] = __builtin_shuffle(first, second, low);
                lines[i + half] = __builtin_shuffle(first, second, high);
            }
    }
#else
    REAL(*all)[WIDTH] = (REAL(*)[WIDTH])lines;
    for (int i = 0; i < WIDTH; i++)
        for (int j = 0; j < i; j++) {
            REAL number = all[i][j];
            all[i][j] = all[j][i];
            all[j][i] = number;
        }
#endif
}

/* All records of a level, in the order in which they are kept: each run's are written a cache line at a time. */
static void NAME(record_all)(const struct steps *s, const REAL *restrict values, REAL *history, REAL *restrict rates) {
    const int32_t *restrict rows = s->place_rows;
    int64_t place = 0;
    if (WIDTH == 1) {
        if (!rates) {
            for (; place < s->num_records; place++) history[place] = values[rows[place]];
            return;
        }
        const REAL *before = history - 2 * s->num_records, factor = (REAL)s->rate_factor;
        for (; place < s->num_records; place++) {
            REAL value = values[rows[place]];
            history[place] = value;
            rates[place] = (value - before[place]) * factor;
        }
        return;
    }
    for (; place + WIDTH <= s->num_records; place += WIDTH) {
        LINE lines[WIDTH];
        for (int64_t k = 0; k < WIDTH; k++) lines[k] = ((const LINE *)values)[rows[place + k]];
        NAME(transpose)(lines);
        for (int64_t lane = 0; lane < WIDTH; lane++)
            memcpy(history + lane * s->run_stride + place, lines + lane, sizeof *lines);
    }
    for (; place < s->num_records; place++)
        for (int64_t lane = 0; lane < WIDTH; lane++)
            history[lane * s->run_stride + place] = values[(int64_t)rows[place] * WIDTH + lane];
}

/* Boundary data of one step for some driven rows. */
static void NAME(drive)(const struct steps *s, int64_t n, int64_t first, int64_t last, LINE *next) {
    int64_t num_driven = s->num_rows - s->num_free, start = (n - s->data_start) * num_driven - s->num_free;
    const REAL *weight = s->drive_weight;
    const LINE *lines = s->data;
    const double *runs = s->data;
    for (int64_t i = first; i < last; i++) {
        LINE datum;
        if (s->data_stride) {
            REAL line[WIDTH] = {0};
            for (int64_t run = 0; run < s->num_data_runs; run++)
                line[run] = (REAL)runs[run * s->data_stride + start + i];
            memcpy(&datum, line, sizeof datum);
        } else datum = lines[start + i];
        next[i] = weight ? next[i] + weight[i - s->num_free] * datum : datum;
    }
}

/* One step from level n for some rows: product, loads, boundary data, record. */
static void NAME(rows)(const struct steps *s, int64_t n, int64_t first, int64_t last) {
    if (first >= last) return;
    LINE *next = s->levels[(n + 1) % 2];
    NAME(sweep)(s, first, last, s->levels[n % 2], next);
    REAL *values = (REAL *)next;
    const REAL *weights = s->load_weights, *samples = (const REAL *)s->samples + n * s->num_signals;
    for (int64_t k = lower_bound(s->load_rows, s->num_loads, first); k < s->num_loads && s->load_rows[k] < last; k++)
        values[(int64_t)s->load_rows[k] * WIDTH + s->load_lanes[k]] +=
            weights[k] * samples[s->load_signals[k]];
    if (s->data && last > s->num_free) NAME(drive)(s, n, first > s->num_free ? first : s->num_free, last, next);
    int64_t slot = s->num_records ? s->record_slots[n + 1] : -1;
    if (slot < 0) return;
    if (first == 0 && last == s->num_rows) {
        REAL *rates = s->rates && slot > 1 ? (REAL *)s->rates + (slot - 2) * s->num_records : NULL;
        NAME(record_all)(s, values, (REAL *)s->history + slot * s->num_records, rates);
        if (rates && WIDTH > 1) NAME(rate)(s, slot, 0, s->num_records);
        return;
    }
    int64_t begin = lower_bound(s->record_rows, s->num_records, first);
    int64_t end = lower_bound(s->record_rows, s->num_records, last);
    const int32_t *record_rows = s->record_rows, *places = s->record_places;
    REAL *history = (REAL *)s->history + slot * s->num_records;
    for (int64_t k = begin; k < end; k++)
        for (int64_t lane = 0; lane < WIDTH; lane++)
            history[lane * s->run_stride + places[k]] = values[(int64_t)record_rows[k] * WIDTH + lane];
    if (s->rates && slot > 1)
        for (int64_t k = begin; k < end; k++) NAME(rate)(s, slot, places[k], places[k] + 1);
}

void NAME(step)(const struct steps *s, int64_t n, int64_t first, int64_t last) {
    unsigned mode = flush_denormals();
    NAME(rows)(s, n, first, last);
    restore_mode(mode);
}

/* num_steps <= depth steps from level n, tile by tile: ends[tile][k] is the end of the tile's rows in step k. */
void NAME(tiled)(const struct steps *s, int64_t n, int64_t num_steps, const int32_t *ends, int64_t num_tiles,
                 int64_t depth) {
    unsigned mode = flush_denormals();
    for (int64_t tile = 0; tile < num_tiles; tile++)
        for (int64_t k = 0; k < num_steps; k++)
            NAME(rows)(s, n + k, tile ? ends[(tile - 1) * depth + k] : 0, ends[tile * depth + k]);
    restore_mode(mode);
}

/* sum over rows of mass (u_n - u_{n-1})^2 of each run. */
void NAME(motion)(const struct steps *s, int64_t n, const double *mass, double *out) {
    const REAL *now = s->levels[n % 2], *before = s->levels[(n + 1) % 2];
    for (int lane = 0; lane < WIDTH; lane++) out[lane] = 0.0;
    for (int64_t i = 0; i < s->num_rows; i++)
        for (int lane = 0; lane < WIDTH; lane++) {
            double change = (double)now[i * WIDTH + lane] - (double)before[i * WIDTH + lane];
            out[lane] += mass[i] * change * change;
        }
}

#undef LINE
#undef NAME
#undef REAL
#undef INTEGER
#undef WIDTH
