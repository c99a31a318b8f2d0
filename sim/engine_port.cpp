// An engine between its control bus and a memory, as a library: what software does to it are function calls.
//
// Around the model that Verilator makes of the engine's top (class Vengine, AXI4-Lite). Reads are answered in their
// order, writes in theirs. Every ready and valid of the memory's side comes and goes at random, so that the engine meets
// stalls on all five channels. The memory is strict: what AXI4 forbids, and every burst that leaves the area in which the
// engine may read or write, is counted in `violations`, and changes nothing.
#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

#include "Vengine.h"

namespace {

constexpr int BEAT = sizeof(Vengine::m_axi_rdata);
constexpr uint64_t PAGE = 4096;
constexpr int ACCESS_CYCLES = 1000;  // a control bus that does not answer in so many is broken

enum Setting { LATENCY, STALL, SEED, FAIL_READ, FAIL_WRITE, RESPONSE, LOW, HIGH, WRITE_LOW, PER_ACCESS, SETTINGS };
enum Violation { OUTSIDE = 1, PAGE_CROSSED = 2, UNSTABLE = 4, WRONG_LAST = 8, UNASKED = 16, BUS = 32 };

struct Burst {
    uint64_t address;
    int beats;
    uint64_t due;
    bool allowed;
};

struct Model {
    VerilatedContext context;
    Vengine top{&context};
    std::vector<unsigned char> memory;
    uint64_t origin = 0, now = 0, read_beats = 0, write_beats = 0, violations = 0;
    uint64_t set[SETTINGS] = {4, 0, 1, 0, 0, 2, 0, 0, 0, 0};
    uint32_t random = 1;
    std::deque<Burst> reads, writes, answers;
    bool write_failed = false;
    // What the engine held out in the cycle before and nobody took.
    bool ar_held = false, aw_held = false, w_held = false;
    uint64_t ar_address = 0, aw_address = 0;
    unsigned char w_data[BEAT] = {};

    Model(uint64_t from, uint64_t bytes) : memory(bytes), origin(from) {
        set[LOW] = set[WRITE_LOW] = from;
        set[HIGH] = from + bytes;
        reset();
    }

    // Marsaglia's xorshift: whether one of the memory's handshakes stalls in this cycle.
    bool stalls() {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        return random % 100 < set[STALL];
    }

    void reset() {
        reads.clear();
        writes.clear();
        answers.clear();
        ar_held = aw_held = w_held = write_failed = false;
        top.aresetn = 0;
        top.s_axil_awvalid = top.s_axil_wvalid = top.s_axil_bready = top.s_axil_arvalid = top.s_axil_rready = 0;
        top.m_axi_arready = top.m_axi_rvalid = top.m_axi_awready = top.m_axi_wready = top.m_axi_bvalid = 0;
        for (int k = 0; k < 4; k++) edge();
        top.aresetn = 1;
        edge();
    }

    // A clock edge at which the memory's side does nothing.
    void edge() {
        top.aclk = 0;
        top.eval();
        top.aclk = 1;
        top.eval();
        now++;
    }

    bool lies_within(uint64_t address, int beats, uint64_t low) {
        const uint64_t end = address + uint64_t(beats) * BEAT;
        if (address % PAGE + uint64_t(beats) * BEAT > PAGE || address % BEAT) violations |= PAGE_CROSSED;
        const bool within = low <= address && end <= set[HIGH];
        if (!within) violations |= OUTSIDE;
        return within && origin <= address && end <= origin + memory.size();
    }

    void take_addresses() {
        if (top.m_axi_arvalid && top.m_axi_arready) {
            const int beats = top.m_axi_arlen + 1;
            reads.push_back({top.m_axi_araddr, beats, now + set[LATENCY], lies_within(top.m_axi_araddr, beats, set[LOW])});
        }
        if (top.m_axi_awvalid && top.m_axi_awready) {
            const int beats = top.m_axi_awlen + 1;
            writes.push_back({top.m_axi_awaddr, beats, 0, lies_within(top.m_axi_awaddr, beats, set[WRITE_LOW])});
        }
    }

    void take_data() {
        if (!(top.m_axi_wvalid && top.m_axi_wready)) return;
        write_beats++;
        if (writes.empty()) {
            violations |= UNASKED;
            return;
        }
        Burst &burst = writes.front();
        if (burst.allowed) std::memcpy(&memory[burst.address - origin], &top.m_axi_wdata, BEAT);
        else write_failed = true;
        if (write_beats == set[FAIL_WRITE]) write_failed = true;
        burst.address += BEAT;
        burst.beats--;
        if ((burst.beats == 0) != bool(top.m_axi_wlast)) violations |= WRONG_LAST;
        if (burst.beats == 0) {
            answers.push_back({0, 0, now + set[LATENCY], !write_failed});
            write_failed = false;
            writes.pop_front();
        }
    }

    // AXI4: what is valid stays, and stays as it is, until it is taken.
    void look_at_stability() {
        if (ar_held && (!top.m_axi_arvalid || top.m_axi_araddr != ar_address)) violations |= UNSTABLE;
        if (aw_held && (!top.m_axi_awvalid || top.m_axi_awaddr != aw_address)) violations |= UNSTABLE;
        if (w_held && (!top.m_axi_wvalid || std::memcmp(w_data, &top.m_axi_wdata, BEAT))) violations |= UNSTABLE;
        ar_held = top.m_axi_arvalid && !top.m_axi_arready;
        aw_held = top.m_axi_awvalid && !top.m_axi_awready;
        w_held = top.m_axi_wvalid && !top.m_axi_wready;
        ar_address = top.m_axi_araddr;
        aw_address = top.m_axi_awaddr;
        std::memcpy(w_data, &top.m_axi_wdata, BEAT);
    }

    // What the memory holds out in the next cycle.
    struct Next {
        bool rvalid, rlast, bvalid;
        int rresp, bresp;
        unsigned char rdata[BEAT];
    };

    void next_read(Next &next) {
        next.rvalid = top.m_axi_rvalid && !top.m_axi_rready;
        if (next.rvalid || reads.empty() || now < reads.front().due || stalls()) return;
        Burst &burst = reads.front();
        read_beats++;
        next.rvalid = true;
        next.rlast = burst.beats == 1;
        next.rresp = read_beats == set[FAIL_READ] ? int(set[RESPONSE]) : burst.allowed ? 0 : 3;
        if (burst.allowed) std::memcpy(next.rdata, &memory[burst.address - origin], BEAT);
        else std::memset(next.rdata, 0xa5, BEAT);
        burst.address += BEAT;
        if (--burst.beats == 0) reads.pop_front();
    }

    void next_answer(Next &next) {
        next.bvalid = top.m_axi_bvalid && !top.m_axi_bready;
        if (next.bvalid || answers.empty() || now < answers.front().due || stalls()) return;
        next.bvalid = true;
        next.bresp = answers.front().allowed ? 0 : int(set[RESPONSE]);
        answers.pop_front();
    }

    void cycle() {
        top.aclk = 0;
        top.eval();
        Next next{};
        next.rlast = top.m_axi_rlast;
        next.rresp = top.m_axi_rresp;
        next.bresp = top.m_axi_bresp;
        std::memcpy(next.rdata, &top.m_axi_rdata, BEAT);
        look_at_stability();
        take_addresses();
        take_data();
        next_read(next);
        next_answer(next);
        top.aclk = 1;
        top.eval();
        now++;
        top.m_axi_rvalid = next.rvalid;
        top.m_axi_rlast = next.rlast;
        top.m_axi_rresp = next.rresp;
        std::memcpy(&top.m_axi_rdata, next.rdata, BEAT);
        top.m_axi_bvalid = next.bvalid;
        top.m_axi_bresp = next.bresp;
        top.m_axi_arready = !stalls();
        top.m_axi_awready = !stalls();
        top.m_axi_wready = !stalls();
    }

    // Whether `ready` was up at a clock edge; `valid` falls behind it.
    template <typename Ready, typename Valid> void handshake(const Ready &ready, Valid &valid) {
        top.aclk = 0;
        top.eval();
        const bool taken = valid && ready;
        cycle();
        if (taken) valid = 0;
    }

    uint32_t read(uint32_t offset) {
        for (uint64_t k = 0; k < set[PER_ACCESS]; k++) cycle();
        top.s_axil_araddr = offset;
        top.s_axil_arvalid = 1;
        top.s_axil_rready = 1;
        for (int k = 0; k < ACCESS_CYCLES; k++) {
            top.aclk = 0;
            top.eval();
            if (top.s_axil_rvalid) {
                const uint32_t data = top.s_axil_rresp ? 0xffffffffu : top.s_axil_rdata;
                cycle();
                top.s_axil_rready = 0;
                return data;
            }
            handshake(top.s_axil_arready, top.s_axil_arvalid);
        }
        violations |= BUS;
        return 0xffffffffu;
    }

    void write(uint32_t offset, uint32_t value) {
        top.s_axil_awaddr = offset;
        top.s_axil_wdata = value;
        top.s_axil_wstrb = 15;
        top.s_axil_awvalid = top.s_axil_wvalid = top.s_axil_bready = 1;
        for (int k = 0; k < ACCESS_CYCLES; k++) {
            top.aclk = 0;
            top.eval();
            if (top.s_axil_bvalid) {
                cycle();
                top.s_axil_bready = 0;
                return;
            }
            const bool address = top.s_axil_awvalid && top.s_axil_awready, data = top.s_axil_wvalid && top.s_axil_wready;
            cycle();
            if (address) top.s_axil_awvalid = 0;
            if (data) top.s_axil_wvalid = 0;
        }
        violations |= BUS;
    }
};

}  // namespace

extern "C" {
void *engine_new(uint64_t origin, uint64_t bytes) { return new Model(origin, bytes); }
void engine_delete(void *model) { delete static_cast<Model *>(model); }
void engine_reset(void *model) { static_cast<Model *>(model)->reset(); }
uint32_t engine_read(void *model, uint32_t offset) { return static_cast<Model *>(model)->read(offset); }
void engine_write(void *model, uint32_t offset, uint32_t value) { static_cast<Model *>(model)->write(offset, value); }
unsigned char *engine_memory(void *model) { return static_cast<Model *>(model)->memory.data(); }

void engine_set(void *model, int setting, uint64_t value) {
    Model &own = *static_cast<Model *>(model);
    own.set[setting] = value;
    if (setting == SEED) own.random = uint32_t(value) ? uint32_t(value) : 1;
    // Failing beats are counted from here on.
    if (setting == FAIL_READ) own.read_beats = 0;
    if (setting == FAIL_WRITE) own.write_beats = 0;
}

// So many cycles, or fewer where `until_rest` and the engine comes to rest; how many they were.
uint64_t engine_cycles(void *model, uint64_t count, int until_rest) {
    Model &own = *static_cast<Model *>(model);
    uint64_t k = 0;
    for (; k < count && !(until_rest && !own.top.busy); k++) own.cycle();
    return k;
}

int engine_irq(void *model) { return static_cast<Model *>(model)->top.irq; }
uint64_t engine_violations(void *model) { return static_cast<Model *>(model)->violations; }
uint64_t engine_read_beats(void *model) { return static_cast<Model *>(model)->read_beats; }
uint64_t engine_write_beats(void *model) { return static_cast<Model *>(model)->write_beats; }
}
