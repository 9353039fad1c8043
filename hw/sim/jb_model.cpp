// The Verilated accelerator with its memory: two AXI3 slaves on one byte array, AXI4-Lite access to the registers, and
// checks of the bus rules that the design promises. C interface, loaded by joulebit.accelerator.rtl.
//
// One cycle: inputs are driven from the slaves' state, the design settles with the clock low, handshakes are sampled,
// the clock rises, the slaves' state moves on. No slave output depends on a design output of the same cycle.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "Vjb_top.h"
#include "verilated.h"

namespace {

constexpr int kBeatBytes = 8;
constexpr uint32_t kPage = 4096;
constexpr uint8_t kOkay = 0, kSlvErr = 2, kDecErr = 3;

// xorshift64*: the same numbers on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ull + 0x1234567ull) {
    if (state_ == 0) state_ = 1;
  }
  uint32_t below(uint32_t limit) { return limit ? static_cast<uint32_t>(next() >> 33) % limit : 0; }
  bool chance(uint32_t permille) { return permille && below(1000) < permille; }

 private:
  uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1Dull;
  }
  uint64_t state_;
};

struct Timing {
  uint32_t latency_min = 20;  // cycles from an address to its first beat or response
  uint32_t latency_max = 20;
  uint32_t idle_permille = 0;          // R and B: cycles without valid
  uint32_t back_pressure_permille = 0; // AR, AW and W: cycles without ready
  uint32_t outstanding = 8;            // bursts that a slave takes before it answers
};

// What a master drives on an address or data channel while valid: must stay until ready.
struct Held {
  bool waiting = false;
  uint64_t low = 0, high = 0;
};

struct Burst {
  uint32_t address, beats, id;
  uint64_t ready_at;
  uint32_t done = 0;
};

struct Beat {
  uint64_t data;
  uint8_t strobe, id;
  bool last;
};

struct AddressChannel {
  uint32_t id, address, length, size, burst, lock;
  bool valid;
};

class Memory {
 public:
  Memory(uint64_t size, uint64_t base) : bytes(size), base_(base) {}
  uint8_t* at(uint64_t address, uint64_t size) {
    if (address < base_ || address + size > base_ + bytes.size()) return nullptr;
    return bytes.data() + (address - base_);
  }
  uint8_t response(uint64_t address) {
    if (address >= fault_start && address < fault_stop) return kSlvErr;
    return at(address, kBeatBytes) ? kOkay : kDecErr;
  }
  std::vector<uint8_t> bytes;
  uint64_t fault_start = 0, fault_stop = 0;

 private:
  uint64_t base_;
};

// One AXI3 slave port. Responses come in the order of the addresses.
class Slave {
 public:
  Slave(Memory& memory, int number) : memory_(memory), random_(number + 1), number_(number) {}

  void configure(const Timing& timing, uint64_t seed) {
    timing_ = timing;
    random_ = Random(seed * 2 + number_);
  }

  void reset() {
    reads_.clear();
    writes_.clear();
    responses_.clear();
    data_.clear();
    r_valid = b_valid = false;
    ar_ready = aw_ready = w_ready = false;
    ar_held_ = aw_held_ = w_held_ = Held();
  }

  // Outputs to the design, stable over a cycle.
  bool ar_ready = false, aw_ready = false, w_ready = false;
  bool r_valid = false, r_last = false, b_valid = false;
  uint64_t r_data = 0;
  uint32_t r_id = 0, r_resp = 0, b_id = 0, b_resp = 0;
  uint64_t read_beats = 0, write_beats = 0;
  // Cycles in which a side waited, for coverage.
  uint64_t waits_ar = 0, waits_w = 0, idle_r = 0;
  std::string violation;

  void step(uint64_t now, const AddressChannel& ar, const AddressChannel& aw, const Beat& w, bool w_valid, bool r_ready,
            bool b_ready) {
    hold(ar_held_, ar.valid, ar_ready, pack(ar), 0, "AR");
    hold(aw_held_, aw.valid, aw_ready, pack(aw), 0, "AW");
    hold(w_held_, w_valid, w_ready, w.data, w.strobe | (w.last << 8) | (w.id << 9), "W");
    if (ar.valid && ar_ready) accept(reads_, ar, now, "read");
    if (aw.valid && aw_ready) accept(writes_, aw, now, "write");
    if (w_valid && w_ready) data_.push_back(w);
    waits_ar += ar.valid && !ar_ready;
    waits_w += w_valid && !w_ready;
    read(now, r_ready);
    write(now, b_ready);
    ar_ready = reads_.size() < timing_.outstanding && !random_.chance(timing_.back_pressure_permille);
    aw_ready = writes_.size() < timing_.outstanding && !random_.chance(timing_.back_pressure_permille);
    w_ready = data_.size() < 64 && !random_.chance(timing_.back_pressure_permille);
  }

  bool quiet() const { return reads_.empty() && writes_.empty() && responses_.empty() && data_.empty() && !b_valid; }

 private:
  static uint64_t pack(const AddressChannel& a) {
    return a.address | (uint64_t{a.length} << 32) | (uint64_t{a.id} << 36) | (uint64_t{a.size} << 42) |
           (uint64_t{a.burst} << 45) | (uint64_t{a.lock} << 47);
  }

  void complain(const char* what, uint64_t value = 0) {
    if (!violation.empty()) return;
    char text[160];
    std::snprintf(text, sizeof text, "port %d: %s (0x%llx)", number_, what, static_cast<unsigned long long>(value));
    violation = text;
  }

  // valid must not fall and the payload must not change before ready.
  void hold(Held& held, bool valid, bool ready, uint64_t low, uint64_t high, const char* channel) {
    if (held.waiting && (!valid || held.low != low || held.high != high)) {
      complain((std::string(channel) + " changed before it was accepted").c_str(), low);
    }
    held.waiting = valid && !ready;
    held.low = low;
    held.high = high;
  }

  void accept(std::deque<Burst>& queue, const AddressChannel& a, uint64_t now, const char* kind) {
    const uint32_t beats = a.length + 1;
    if (a.address % kBeatBytes) complain("burst not aligned to 8 bytes", a.address);
    if (a.size != 3 || a.burst != 1 || a.lock != 0) complain("burst is not INCR of 8 bytes", a.address);
    if ((a.address & ~(kPage - 1)) != ((a.address + beats * kBeatBytes - 1) & ~(kPage - 1))) {
      complain((std::string(kind) + " burst crosses 4 KB").c_str(), a.address);
    }
    const uint32_t latency = timing_.latency_min + random_.below(timing_.latency_max - timing_.latency_min + 1);
    queue.push_back({a.address, beats, a.id, now + latency});
  }

  void read(uint64_t now, bool r_ready) {
    if (r_valid && !r_ready) return;  // the beat stays
    if (r_valid) {
      if (++reads_.front().done == reads_.front().beats) reads_.pop_front();
      r_valid = false;
    }
    if (reads_.empty() || reads_.front().ready_at > now || random_.chance(timing_.idle_permille)) {
      idle_r += !reads_.empty();
      return;
    }
    const Burst& burst = reads_.front();
    const uint64_t address = burst.address + uint64_t{burst.done} * kBeatBytes;
    r_resp = memory_.response(address);
    r_data = 0xDEADDEADDEADDEADull;
    if (const uint8_t* from = memory_.at(address, kBeatBytes); from && r_resp == kOkay) {
      std::memcpy(&r_data, from, kBeatBytes);
    }
    r_id = burst.id;
    r_last = burst.done + 1 == burst.beats;
    r_valid = true;
    ++read_beats;
  }

  void write(uint64_t now, bool b_ready) {
    if (b_valid && b_ready) {
      responses_.pop_front();
      b_valid = false;
    }
    while (!writes_.empty() && !data_.empty()) {
      Burst& burst = writes_.front();
      const Beat beat = data_.front();
      data_.pop_front();
      const uint64_t address = burst.address + uint64_t{burst.done} * kBeatBytes;
      const bool last = ++burst.done == burst.beats;
      if (beat.last != last) complain("WLAST is not on the burst's last beat", address);
      if (beat.id != burst.id) complain("WID is not that of the oldest write: interleaved", address);
      const uint8_t response = memory_.response(address);
      if (response == kOkay) {
        uint8_t* to = memory_.at(address, kBeatBytes);
        for (int byte = 0; byte < kBeatBytes; ++byte) {
          if (beat.strobe >> byte & 1) to[byte] = static_cast<uint8_t>(beat.data >> (8 * byte));
        }
      }
      worst_ = std::max(worst_, response);
      ++write_beats;
      if (last) {
        responses_.push_back({worst_, 0, burst.id, std::max(burst.ready_at, now + 1)});
        worst_ = kOkay;
        writes_.pop_front();
      }
    }
    if (!b_valid && !responses_.empty() && responses_.front().ready_at <= now && !random_.chance(timing_.idle_permille)) {
      b_valid = true;
      b_resp = responses_.front().address;
      b_id = responses_.front().id;
    }
  }

  Memory& memory_;
  Random random_;
  Timing timing_;
  int number_;
  uint8_t worst_ = kOkay;
  std::deque<Burst> reads_, writes_, responses_;  // a response's `address` is its code
  std::deque<Beat> data_;
  Held ar_held_, aw_held_, w_held_;
};

// The signals of port N, whose names differ by a digit.
#define JB_DRIVE(N)                             \
  top.m_axi_hp##N##_arready = port.ar_ready;    \
  top.m_axi_hp##N##_rid = port.r_id;            \
  top.m_axi_hp##N##_rdata = port.r_data;        \
  top.m_axi_hp##N##_rresp = port.r_resp;        \
  top.m_axi_hp##N##_rlast = port.r_last;        \
  top.m_axi_hp##N##_rvalid = port.r_valid;      \
  top.m_axi_hp##N##_awready = port.aw_ready;    \
  top.m_axi_hp##N##_wready = port.w_ready;      \
  top.m_axi_hp##N##_bid = port.b_id;            \
  top.m_axi_hp##N##_bresp = port.b_resp;        \
  top.m_axi_hp##N##_bvalid = port.b_valid

#define JB_ADDRESS(N, C)                                                                             \
  AddressChannel {                                                                                   \
    top.m_axi_hp##N##_##C##id, top.m_axi_hp##N##_##C##addr, top.m_axi_hp##N##_##C##len,              \
        top.m_axi_hp##N##_##C##size, top.m_axi_hp##N##_##C##burst, top.m_axi_hp##N##_##C##lock,      \
        top.m_axi_hp##N##_##C##valid != 0                                                            \
  }

#define JB_BEAT(N)                                                                                   \
  Beat { top.m_axi_hp##N##_wdata, top.m_axi_hp##N##_wstrb, top.m_axi_hp##N##_wid, top.m_axi_hp##N##_wlast != 0 }

class Model {
 public:
  Model(uint64_t memory_bytes, uint64_t base) : memory(memory_bytes, base), ports{{memory, 0}, {memory, 1}} {
    context.threads(1);
    top_ = std::make_unique<Vjb_top>(&context);
    reset();
  }
  ~Model() { top_->final(); }

  void reset() {
    Vjb_top& top = *top_;
    top.rst_ni = 0;
    top.s_axi_awvalid = top.s_axi_wvalid = top.s_axi_arvalid = 0;
    top.s_axi_awprot = top.s_axi_arprot = 0;
    top.s_axi_bready = top.s_axi_rready = 0;
    for (auto& port : ports) port.reset();
    for (int count = 0; count < 8; ++count) cycle();
    top.rst_ni = 1;
    for (auto& port : ports) port.reset();
    cycle();
  }

  void cycle() {
    Vjb_top& top = *top_;
    { const Slave& port = ports[0]; JB_DRIVE(0); }
    { const Slave& port = ports[1]; JB_DRIVE(1); }
    top.clk_i = 0;
    top.eval();
    const AddressChannel ar[2] = {JB_ADDRESS(0, ar), JB_ADDRESS(1, ar)};
    const AddressChannel aw[2] = {JB_ADDRESS(0, aw), JB_ADDRESS(1, aw)};
    const Beat w[2] = {JB_BEAT(0), JB_BEAT(1)};
    const bool w_valid[2] = {top.m_axi_hp0_wvalid != 0, top.m_axi_hp1_wvalid != 0};
    const bool r_ready[2] = {top.m_axi_hp0_rready != 0, top.m_axi_hp1_rready != 0};
    const bool b_ready[2] = {top.m_axi_hp0_bready != 0, top.m_axi_hp1_bready != 0};
    aw_taken_ = top.s_axi_awvalid && top.s_axi_awready;
    w_taken_ = top.s_axi_wvalid && top.s_axi_wready;
    b_taken_ = top.s_axi_bvalid && top.s_axi_bready;
    ar_taken_ = top.s_axi_arvalid && top.s_axi_arready;
    r_taken_ = top.s_axi_rvalid && top.s_axi_rready;
    b_resp_ = top.s_axi_bresp;
    r_resp_ = top.s_axi_rresp;
    r_data_ = top.s_axi_rdata;
    irq = top.irq_o;
    top.clk_i = 1;
    top.eval();
    ++now;
    if (!top.rst_ni) return;
    for (int n = 0; n < 2; ++n) ports[n].step(now, ar[n], aw[n], w[n], w_valid[n], r_ready[n], b_ready[n]);
  }

  // AXI4-Lite; -1 when the slave does not answer, -2 for an error response.
  int64_t read(uint32_t address) {
    Vjb_top& top = *top_;
    top.s_axi_araddr = address;
    top.s_axi_arvalid = 1;
    top.s_axi_rready = 1;
    bool answered = false;
    for (int count = 0; count < kPatience && !answered; ++count) {
      cycle();
      if (ar_taken_) top.s_axi_arvalid = 0;
      answered = r_taken_;
    }
    top.s_axi_arvalid = top.s_axi_rready = 0;
    if (!answered) return -1;
    return r_resp_ ? -2 : static_cast<int64_t>(r_data_);
  }

  int write(uint32_t address, uint32_t value) {
    Vjb_top& top = *top_;
    top.s_axi_awaddr = address;
    top.s_axi_wdata = value;
    top.s_axi_wstrb = 15;
    top.s_axi_awvalid = top.s_axi_wvalid = top.s_axi_bready = 1;
    bool answered = false;
    for (int count = 0; count < kPatience && !answered; ++count) {
      cycle();
      if (aw_taken_) top.s_axi_awvalid = 0;
      if (w_taken_) top.s_axi_wvalid = 0;
      answered = b_taken_;
    }
    top.s_axi_awvalid = top.s_axi_wvalid = top.s_axi_bready = 0;
    if (!answered) return -1;
    return b_resp_ ? -2 : 0;
  }

  const char* violation() const {
    for (const auto& port : ports) {
      if (!port.violation.empty()) return port.violation.c_str();
    }
    return "";
  }

  VerilatedContext context;
  Memory memory;
  Slave ports[2];
  uint64_t now = 0;
  bool irq = false;

 private:
  static constexpr int kPatience = 1000;
  std::unique_ptr<Vjb_top> top_;
  bool aw_taken_ = false, w_taken_ = false, b_taken_ = false, ar_taken_ = false, r_taken_ = false;
  uint32_t b_resp_ = 0, r_resp_ = 0, r_data_ = 0;
};

}  // namespace

// Verilator asks for the time of messages.
double sc_time_stamp() { return 0; }

extern "C" {

Model* jb_open(uint64_t memory_bytes, uint64_t base) { return new Model(memory_bytes, base); }
void jb_close(Model* model) { delete model; }
uint8_t* jb_memory(Model* model) { return model->memory.bytes.data(); }
void jb_reset(Model* model) { model->reset(); }

void jb_configure(Model* model, uint64_t seed, uint32_t latency_min, uint32_t latency_max, uint32_t idle_permille,
                  uint32_t back_pressure_permille, uint32_t outstanding) {
  const Timing timing{latency_min, latency_max, idle_permille, back_pressure_permille, outstanding};
  for (auto& port : model->ports) port.configure(timing, seed);
}

// Accesses to addresses in [start, stop) get SLVERR.
void jb_fault(Model* model, uint64_t start, uint64_t stop) {
  model->memory.fault_start = start;
  model->memory.fault_stop = stop;
}

int64_t jb_read(Model* model, uint32_t address) { return model->read(address); }
int jb_write(Model* model, uint32_t address, uint32_t value) { return model->write(address, value); }

// Runs until (register & mask) != 0, looking every `period` cycles; the register, or -1 after max_cycles.
int64_t jb_run_until(Model* model, uint32_t address, uint32_t mask, uint32_t period, uint64_t max_cycles) {
  const uint64_t stop = model->now + max_cycles;
  while (model->now < stop) {
    for (uint32_t count = 0; count < period; ++count) model->cycle();
    const int64_t value = model->read(address);
    if (value < 0) return value;
    if (value & mask) return value;
    if (*model->violation()) return -3;
  }
  return -1;
}

void jb_cycles(Model* model, uint64_t count) {
  while (count--) model->cycle();
}

uint64_t jb_now(Model* model) { return model->now; }
int jb_irq(Model* model) { return model->irq; }
const char* jb_violation(Model* model) { return model->violation(); }
int jb_quiet(Model* model) { return model->ports[0].quiet() && model->ports[1].quiet(); }

// Beats read and written, cycles of waiting on AR, W and R: 5 numbers for each port.
void jb_traffic(Model* model, uint64_t* out) {
  for (const auto& port : model->ports) {
    *out++ = port.read_beats;
    *out++ = port.write_beats;
    *out++ = port.waits_ar;
    *out++ = port.waits_w;
    *out++ = port.idle_r;
  }
}

}  // extern "C"
