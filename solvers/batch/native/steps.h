/* Explicit steps of several runs at once: what the compiled code is given. Read by cffi, so plain declarations only. */

struct steps {
    int64_t num_rows;    /* rows of this rank; values of other ranks' rows that they need follow them in now and next */
    const int32_t *starts;  /* (num_rows + 1) of each row's entries */
    const int32_t *columns; /* (entry) */
    const void *values;     /* (entry) */
    int64_t num_stretches;
    const int32_t *stretch_ends; /* (num_stretches) ascending; the last is num_rows */
    const int32_t *stretch_counts; /* (num_stretches) entries of each row where all are alike; else 0, or -1: damped */
    const void *keep;    /* (num_rows) factor of the level before, -d: -1 on rows without damping */
    int64_t num_free;    /* rows before those that boundary data drive */
    const void *drive_weight; /* (num_rows - num_free) of data that are added; NULL where data replace values */
    void *levels[2];     /* (row, lane) level n lies in levels[n % 2], 64-byte aligned */
    int64_t num_loads;
    const int32_t *load_rows;  /* (num_loads) ascending */
    const int32_t *load_lanes; /* (num_loads) */
    const int32_t *load_signals; /* (num_loads) */
    const void *load_weights;  /* (num_loads) */
    int64_t num_signals;
    const void *samples; /* (step, signal) */
    const void *data;    /* (step, driven row, lane) of the steps from data_start on; NULL: nothing drives */
    int64_t data_start;
    int64_t data_stride; /* not 0: data are doubles, each run's (step, driven row) by itself, that far apart */
    int64_t num_data_runs; /* of them; the other lanes are driven by zeros */
    int64_t num_records;
    const int32_t *record_rows; /* (num_records) ascending */
    const int32_t *place_rows; /* (num_records) the row of each place in history */
    const int32_t *record_places; /* (num_records) where each stands in history */
    const int64_t *record_slots; /* (level) where a level goes in history, or -1 */
    void *history;       /* (slot, record, lane), or each run's (slot, record) by itself */
    void *rates;         /* each run's (slot - 1, record): rate of change between the slots beside it; NULL: not wanted */
    int64_t rate_stride; /* numbers from one run's rates to the next */
    double rate_factor;  /* of the difference of two slots */
    int64_t run_stride;  /* numbers from one run's history to the next */
};
