/* Steps a compiled model from C, one tick at a time, and prints its spikes as a raster.
 *
 *   nc compile lif.nd -o .
 *   cc -std=c11 step.c lif.o -o step && ./step
 */
#include <stdio.h>
#include <stdlib.h>

#include "lif.h"

enum { TICKS = 24, SLACK = 64 };

/* Memory for `bytes` bytes, aligned as a run needs it, with readable slack behind. */
static uint8_t *buffer(size_t bytes) {
  uint8_t *p = aligned_alloc(64, (bytes + SLACK + 63) / 64 * 64);
  if (!p) {
    fputs("out of memory\n", stderr);
    exit(1);
  }
  memset(p, 0, bytes);
  return p;
}

int main(void) {
  uint8_t *arena = buffer(LIF_ARENA_BYTES);
  uint8_t *host[LIF_ARRAYS];
  host[LIF_I] = buffer(LIF_I_BYTES);
  host[LIF_SPIKES] = buffer(LIF_SPIKES_BYTES);
  char raster[LIF_SPIKES_LEN][TICKS + 1];
  memset(raster, 0, sizeof raster);

  float current[LIF_I_LEN];
  for (int k = 0; k < LIF_I_LEN; k++) current[k] = (float)(k + 1) / 8;
  memcpy(host[LIF_I], current, sizeof current);

  lif_reset(arena);
  for (uint64_t t = 0; t < TICKS; t++) {
    nc_context context = {.arena = arena, .consts = lif_consts, .host = host, .first_tick = t, .ticks = 1};
    memset(host[LIF_SPIKES], 0, LIF_SPIKES_BYTES);
    lif_run(&context, 0);
    for (int k = 0; k < LIF_SPIKES_LEN; k++) raster[k][t] = host[LIF_SPIKES][k] ? '1' : '.';
  }
  for (int k = 0; k < LIF_SPIKES_LEN; k++) puts(raster[k]);
  return 0;
}
