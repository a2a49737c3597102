/* Leaky integrate-and-fire neurons and integer work, compiled by two compilers for tests/programs.rs:
 *   arm-none-eabi-gcc -O2 -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16 -ffp-contract=off -ffreestanding
 *     -nostdlib -Wl,-Ttext=0x100,-eentry
 *   clang-22 --target=thumbv7em-none-eabihf -mcpu=cortex-m4 with the same options
 * then objcopy -O binary, as hexadecimal digits. entry(n, v, input, out): r0 to r3 as in the calling convention. */
#include <stdint.h>
struct out { uint32_t spikes, hash, quotients, sum_low, sum_high, cases; };
static uint32_t choose(uint32_t k, uint32_t x) {
    switch (k % 7) {
    case 0: return x + 3;
    case 1: return x * 5;
    case 2: return x ^ 0x12345678u;
    case 3: return x >> 3 | x << 29;
    case 4: return ~x;
    case 5: return x & 0xff00ff;
    default: return __builtin_clz(x | 1);
    }
}
__attribute__((noinline)) static uint32_t step(uint32_t n, float *v, const float *input, uint8_t *spiked) {
    uint32_t spikes = 0;
    for (uint32_t k = 0; k < n; k++) {
        float x = __builtin_fmaf(v[k], 0.9375f, input[k]);
        int fired = x >= 1.0f;
        v[k] = fired ? x - 1.0f : x;
        spiked[k] = (uint8_t)fired;
        spikes += fired;
    }
    return spikes;
}
__attribute__((used, section(".text.entry"))) void entry(uint32_t n, float *v, const float *input, struct out *out) {
    uint8_t spiked[64];
    uint32_t spikes = 0, hash = 1, quotients = 0, cases = 1;
    int64_t sum = 0;
    for (uint32_t t = 0; t < 50; t++) {
        spikes += step(n, v, input, spiked);
        for (uint32_t k = 0; k < n; k++) {
            hash = (hash ^ spiked[k]) * 16777619u;
            quotients += hash / (k + 1) + (uint32_t)((int32_t)hash / (int32_t)(k + 2));
            sum += (int64_t)(int32_t)hash * (int16_t)k;
            cases = choose(hash >> 5, cases + k);
        }
    }
    out->spikes = spikes;
    out->hash = hash;
    out->quotients = quotients;
    out->sum_low = (uint32_t)sum;
    out->sum_high = (uint32_t)(sum >> 32);
    out->cases = cases;
    __asm__ volatile("bkpt #1");
}
