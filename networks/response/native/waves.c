/* What networks/operator/rays.py says of rays and networks/response/inference.py of driven waves, all frequencies of one
 * ray, or of one level, at a time: they stay in the first cache. Compiled so that the loops over frequencies call the
 * vector forms of exp, cos and sin where libm has them. */
#include <math.h>
#include <stdint.h>

void add_rays(int64_t num_rays, int64_t num_arc, int64_t num_features, int64_t num_ways, int64_t num, float largest,
              float part, const int64_t *restrict source, const float *restrict features,
              const float *restrict strength, const int32_t *restrict turns, const int64_t *restrict row,
              const float *restrict share, const float *restrict growing, const float *restrict turning,
              const float *restrict table, float *restrict out)
{
    const int64_t both = 2 * num; /* of displacement, then load */
    float size[both], phase[both], cosine[both], sine[both];
    for (int64_t i = 0; i < num_rays; i++) {
        if (strength[i] == 0.0f) continue; /* it comes too late, to either field */
        for (int64_t j = 0; j < num; j++)
            phase[j] = phase[num + j] = part * (float)(int32_t)((uint32_t)turns[i] * (uint32_t)j);
        for (int64_t j = 0; j < both; j++) size[j] = 0.0f;
        for (int64_t f = 0; f < num_features; f++) {
            const float factor = features[f * num_rays + i];
            for (int64_t j = 0; j < both; j++) size[j] += factor * growing[f * both + j];
        }
        for (int64_t f = 0; f < num_ways; f++) {
            const float factor = features[f * num_rays + i];
            for (int64_t j = 0; j < both; j++) phase[j] += factor * turning[f * both + j];
        }
        for (int64_t j = 0; j < both; j++) size[j] = expf(size[j] < largest ? size[j] : largest);
        for (int64_t j = 0; j < both; j++) cosine[j] = cosf(phase[j]);
        for (int64_t j = 0; j < both; j++) sine[j] = sinf(phase[j]);
        const float *here = table + row[i] * 2 * both, *after = here + 2 * both;
        float *at = out + (source[i / num_arc] * num_arc + i % num_arc) * 2 * both;
        for (int64_t field = 0; field < 2; field++) {
            const float sign = strength[field * num_rays + i];
            const int64_t from = field * num;
            float *cosines = at + field * both, *sines = cosines + num;
            for (int64_t k = 0; k < num; k++) {
                const int64_t j = from + k;
                const float real = here[j] + share[i] * (after[j] - here[j]);
                const float imaginary = here[both + j] + share[i] * (after[both + j] - here[both + j]);
                const float times = sign * size[j];
                cosines[k] += times * (real * cosine[j] + imaginary * sine[j]);
                sines[k] += times * (real * sine[j] - imaginary * cosine[j]);
            }
        }
    }
}

/* x[n] = E x[n-1] + d[n] from rest, in double precision: real and imaginary parts, then d[n+1] and d[n], of each level. */
void drive_waves(int64_t count, int64_t num_levels, int64_t num, const double *restrict turn,
                 const double *restrict drives, float *restrict out)
{
    const double *cosine = turn, *sine = turn + num;
    double real[num], imaginary[num];
    for (int64_t i = 0; i < count; i++) {
        const double *d = drives + i * (num_levels + 1);
        for (int64_t k = 0; k < num; k++) real[k] = imaginary[k] = 0.0;
        for (int64_t n = 0; n < num_levels; n++, out += 2 * num + 2) {
            for (int64_t k = 0; k < num; k++) {
                const double x = real[k], y = imaginary[k];
                real[k] = cosine[k] * x - sine[k] * y + d[n];
                imaginary[k] = sine[k] * x + cosine[k] * y;
                out[k] = (float)real[k];
                out[num + k] = (float)imaginary[k];
            }
            out[2 * num] = (float)d[n + 1];
            out[2 * num + 1] = (float)d[n];
        }
    }
}

/* Amplitudes of a wave table, networks/table/inference.py: rows of left factors (count, for each frequency its rank's real
 * parts, then imaginary ones) times products (for each frequency, TILE columns and rank: real, then imaginary parts) to
 * what multiplies cosines, then sines, (count, arc, 2, 2 num). Columns are the nodes of displacement, then of load, filled
 * up to whole tiles, which stay in registers. `arcs` says for each node the one whose numbers it gets. */
enum { TILE = 32 };

void table_parts(int64_t count, int64_t num, int64_t num_arc, int64_t width, const int64_t *restrict first,
                 const float *restrict rows, const float *restrict products, const int64_t *restrict arcs,
                 float *restrict out)
{
    const int64_t tiles = (2 * num_arc + TILE - 1) / TILE;
    float real[tiles * TILE], imaginary[tiles * TILE];
    for (int64_t k = 0; k < num; k++) {
        const int64_t rank = first[k + 1] - first[k];
        const float *product = products + 2 * TILE * tiles * first[k];
        for (int64_t i = 0; i < count; i++) {
            const float *row = rows + i * width + 2 * first[k];
            for (int64_t tile = 0; tile < tiles; tile++) {
                const float *here = product + 2 * TILE * rank * tile;
                float re[TILE] = {0.0f}, im[TILE] = {0.0f};
                for (int64_t j = 0; j < rank; j++, here += 2 * TILE) {
                    const float x = row[j], y = row[rank + j];
                    for (int a = 0; a < TILE; a++) {
                        re[a] += x * here[a] - y * here[TILE + a];
                        im[a] -= x * here[TILE + a] + y * here[a];
                    }
                }
                for (int a = 0; a < TILE; a++) {
                    real[TILE * tile + a] = re[a];
                    imaginary[TILE * tile + a] = im[a];
                }
            }
            for (int64_t a = 0; a < num_arc; a++) {
                const int64_t from = arcs[i * num_arc + a];
                float *at = out + (i * num_arc + a) * 4 * num + k;
                at[0] = real[from];
                at[num] = imaginary[from];
                at[2 * num] = real[num_arc + from];
                at[3 * num] = imaginary[num_arc + from];
            }
        }
    }
}
