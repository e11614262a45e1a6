/* The instructions of matrix tiles (AMX), for CPUs that have none; see software_tiles.py. */

#include <stdint.h>
#include <string.h>

enum { ROWS = 16, WORDS = 16, BYTES = ROWS * WORDS * 4 };

static __thread union {
    int32_t sums[ROWS][WORDS];
    float real[ROWS][WORDS];
    uint16_t halves[ROWS][2 * WORDS];
    int8_t bytes[ROWS][4 * WORDS];
} tiles[8];

void software_ldtilecfg(const void *shapes) { (void)shapes; }

void software_tilerelease(void) { memset(tiles, 0, sizeof tiles); }

void software_tilezero(int8_t tile) { memset(&tiles[tile], 0, BYTES); }

void software_tileloadd64(int8_t tile, const char *from, int64_t step) {
    for (int row = 0; row < ROWS; row++) memcpy(tiles[tile].sums[row], from + row * step, 4 * WORDS);
}

void software_tilestored64(int8_t tile, char *to, int64_t step) {
    for (int row = 0; row < ROWS; row++) memcpy(to + row * step, tiles[tile].sums[row], 4 * WORDS);
}

static float widened(uint16_t half) {
    uint32_t word = (uint32_t)half << 16;
    float number;
    memcpy(&number, &word, sizeof number);
    return number;
}

void software_tdpbf16ps(int8_t c, int8_t a, int8_t b) {
    for (int m = 0; m < ROWS; m++)
        for (int k = 0; k < 2 * WORDS; k++)
            for (int n = 0; n < WORDS; n++)
                tiles[c].real[m][n] +=
                    widened(tiles[a].halves[m][k]) * widened(tiles[b].halves[k / 2][2 * n + k % 2]);
}

void software_tdpbssd(int8_t c, int8_t a, int8_t b) {
    for (int m = 0; m < ROWS; m++)
        for (int k = 0; k < 4 * WORDS; k++)
            for (int n = 0; n < WORDS; n++)
                tiles[c].sums[m][n] +=
                    (int32_t)tiles[a].bytes[m][k] * tiles[b].bytes[k / 4][4 * n + k % 4];
}
