// What tests/vulkan.rs runs: the arguments of a program, one block to a sample. In each tick
// state += weight * input, output = state, and in even ticks the probe has it; a 64-bit word counts the ticks.
// glslangValidator --target-env vulkan1.2 add.comp -o add.spv
#version 450
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_scalar_block_layout : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require

layout(local_size_x = 512) in;
layout(buffer_reference, scalar) buffer Floats { float at[]; };
layout(buffer_reference, scalar) buffer Words { uint64_t at[]; };
layout(push_constant, scalar) uniform Arguments {
    uint64_t arena, consts, table, counters, first, ticks, samples, stride;
};

const uint N = 2;

Floats frame(uint n, uint64_t f, uint64_t s) {
    return Floats(Words(table).at[n] + (f * samples + s) * uint64_t(4 * N));
}

void main() {
    uint i = gl_LocalInvocationID.x;
    for (uint64_t s = gl_WorkGroupID.x; s < samples; s += gl_NumWorkGroups.x) {
        Floats state = Floats(arena + s * stride);
        for (uint64_t t = first; t < first + ticks; t++) {
            if (i < N) {
                state.at[i] += Floats(consts).at[i] * frame(0, t, s).at[i];
                frame(1, t, s).at[i] = state.at[i];
                if (t % uint64_t(2) == uint64_t(0)) frame(2, t / uint64_t(2), s).at[i] = state.at[i];
            }
            if (i == 0) Words(arena + s * stride + uint64_t(64)).at[0] += uint64_t(1);
        }
    }
}
