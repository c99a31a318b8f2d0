// The limit that a co-simulation is measured against: nothing but the verilated accelerator, driven from C++.
// Usage: driver STIMULUS IMAGES BEATS_PER_IMAGE ANSWERS_PER_IMAGE; prints cycles, seconds, and a sum of all output words.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "Vaddax.h"
#include "verilated.h"

int main(int argc, char** argv) {
    if (argc != 5) return 2;
    const uint64_t beats = strtoull(argv[2], nullptr, 10) * strtoull(argv[3], nullptr, 10);
    const uint64_t answers = strtoull(argv[2], nullptr, 10) * strtoull(argv[4], nullptr, 10);
    std::vector<uint32_t> stimulus;
    FILE* file = fopen(argv[1], "r");
    if (!file) return 2;
    for (unsigned word; fscanf(file, "%x", &word) == 1;) stimulus.push_back(word);
    fclose(file);
    if (stimulus.size() < beats) return 2;

    auto context = std::make_unique<VerilatedContext>();
    auto top = std::make_unique<Vaddax>(context.get());
    const auto tick = [&] {
        top->aclk = 0;
        top->eval();
        top->aclk = 1;
        top->eval();
    };
    top->aresetn = 0;
    for (int i = 0; i < 4; ++i) tick();
    top->aresetn = 1;
    top->m_axis_tready = 1;
    uint64_t sent = 0, received = 0, cycles = 0, sum = 0;
    const auto begin = std::chrono::steady_clock::now();
    while (received < answers) {
        top->s_axis_tvalid = sent < beats;
        top->s_axis_tdata = sent < beats ? stimulus[sent] : 0;
        top->aclk = 0;
        top->eval();
        const bool taken = top->s_axis_tvalid && top->s_axis_tready;
        if (top->m_axis_tvalid) {
            sum += top->m_axis_tdata;
            ++received;
        }
        top->aclk = 1;
        top->eval();
        sent += taken;
        ++cycles;
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    printf("%llu %.6f %llu\n", (unsigned long long)cycles, seconds.count(), (unsigned long long)sum);
    return 0;
}
