// Drives the Verilated jb_predictor: loads dz, answers its requests to the x buffer six cycles later (checking the address
// that goes with each), asks for windows of the weight gradient and takes passes at random times. Called from psg_bench.py.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <vector>
#include "Vjb_predictor.h"
#include "Vjb_predictor___024root.h"
#include "verilated.h"

namespace {

constexpr int STRIDE_BYTE = 24;  // in a descriptor

template <typename T>
uint32_t bits(const T& value, int low, int count) {
  return static_cast<uint32_t>((static_cast<uint64_t>(value) >> low) & ((1ull << count) - 1));
}

template <std::size_t N>
uint32_t bits(const VlWide<N>& value, int low, int count) {
  uint32_t result = 0;
  for (int i = 0; i < count; i++) result |= ((value[(low + i) / 32] >> ((low + i) % 32)) & 1u) << i;
  return result;
}

struct Request {
  bool valid = false;
  int image = 0, row = 0, column = 0, word = 0;
};

struct Bench {
  VerilatedContext context;
  std::unique_ptr<Vjb_predictor> top;
  std::mt19937 random;
  uint64_t cycles = 0;
  // x tile
  const uint64_t* x = nullptr;
  int rows = 1, columns = 1, words = 1, images = 1, stride = 1;
  std::deque<Request> pipe = std::deque<Request>(6);
  uint64_t errors = 0, requests = 0;

  explicit Bench(uint32_t seed) : random(seed) {
    top = std::make_unique<Vjb_predictor>(&context);
    top->clk_i = 0;
    top->rst_ni = 0;
    top->eval();
    for (int i = 0; i < 4; i++) tick();
    top->rst_ni = 1;
    tick();
  }

  int quarter() const { return (columns + 3) / 4; }
  int group() const { return words * quarter(); }
  int image_step() const { return (rows + 3) / 4 * group(); }

  Request request() {
    Request r;
    r.valid = top->x_valid_o;
    if (!r.valid) return r;
    requests++;
    r.row = static_cast<int32_t>(top->x_row_o << 14) >> 14;
    r.column = static_cast<int32_t>(top->x_column_o << 14) >> 14;
    const int group_row = r.row >= 0 ? r.row / 4 : -((3 - r.row) / 4);
    const int rest = static_cast<int16_t>(top->x_base_o - group_row * group());
    r.image = rest / image_step();
    r.word = rest % image_step() / quarter();
    if (rest < 0 || r.image >= images || rest % image_step() % quarter() || r.word >= words || (r.word & 3) != top->x_word_o)
      errors++;
    return r;
  }

  uint64_t pixel(const Request& r, int row, int column) const {
    if (!r.valid || row < 0 || row >= rows || column < 0 || column >= columns) return 0;
    return x[((static_cast<int64_t>(r.image) * rows + row) * columns + column) * words + r.word];
  }

  void tick() {
    top->clk_i = 0;
    top->eval();
    top->clk_i = 1;
    top->eval();
    cycles++;
    pipe.push_back(request());
    const Request r = pipe.front();
    pipe.pop_front();
    for (int i = 0; i < 3; i++) {  // rows of this pixel of dz and of the one below; the third does not count
      for (int j = 0; j < 3; j++) {
        const uint64_t value = x && i < 2 ? pixel(r, r.row + i * stride, r.column + j) : random();
        top->x_window_i[2 * (3 * i + j)] = static_cast<uint32_t>(value);
        top->x_window_i[2 * (3 * i + j) + 1] = static_cast<uint32_t>(value >> 32);
      }
    }
    top->eval();
  }
};

}  // namespace

extern "C" {

void* psg_new(uint32_t seed) { return new Bench(seed); }
void psg_delete(void* handle) { delete static_cast<Bench*>(handle); }

// words of dz, in the order of memory; gaps: percent of cycles without a word
void psg_load(void* handle, int half, int images, int rows, int columns, int words, const uint64_t* data, int gaps) {
  Bench& b = *static_cast<Bench*>(handle);
  for (int i = 0; i < images; i++)
    for (int r = 0; r < rows; r++)
      for (int c = 0; c < columns; c++)
        for (int w = 0; w < words; w++) {
          while (static_cast<int>(b.random() % 100) < gaps) b.tick();
          b.top->load_valid_i = 1;
          b.top->load_half_i = half;
          b.top->load_image_i = i;
          b.top->load_row_i = r;
          b.top->load_column_i = c;
          b.top->load_word_i = w;
          b.top->load_data_i = *data++;
          b.tick();
          b.top->load_valid_i = 0;
          b.top->load_data_i = b.random();
          b.top->load_word_i = 0;
        }
  b.tick();
  b.tick();
}

void psg_tile(void* handle, const uint8_t* tile, int half) {
  Bench& b = *static_cast<Bench*>(handle);
  std::memcpy(b.top->tile_i.data(), tile, 128);
  b.stride = tile[STRIDE_BYTE];
  b.top->half_i = half;
  b.top->x_geometry_valid_i = 0;
  b.top->tile_start_i = 1;
  b.tick();
  b.top->tile_start_i = 0;
}

// Runs until the prediction of the tile is complete; cycles from its start, or -1 after limit cycles
int64_t psg_predict(void* handle, const uint64_t* x, int images, int rows, int columns, int words, int64_t limit) {
  Bench& b = *static_cast<Bench*>(handle);
  b.x = x;
  b.images = images;
  b.rows = rows;
  b.columns = columns;
  b.words = words;
  for (int i = b.random() % 8; i > 0; i--) b.tick();
  b.top->x_words_columns_i = b.group();
  b.top->x_image_i = b.image_step();
  b.top->x_geometry_valid_i = 1;
  const uint64_t start = b.cycles;
  while (b.top->predict_busy_o) {
    b.tick();
    if (static_cast<int64_t>(b.cycles - start) > limit) return -1;
  }
  b.x = nullptr;
  return static_cast<int64_t>(b.cycles - start);
}

// windows: (block, word, row, column) each. passes: one row of 4 per multiplier used: (pass number, multiplier, tap, lane) as its record says,
// the candidate and the lane that the array selects by in bits 8 and up of the last two; and per window its number of passes in counts (bit
// 31: an empty one). work: cycles that a pass takes; wait: percent of cycles without a request. stall: cycles between passes beyond work.
// Returns the rows, or what went wrong.
int64_t psg_lists(void* handle, int windows, const int32_t* request, int32_t* passes, int64_t room, uint32_t* counts, int work, int wait,
                  int64_t* stall) {
  Bench& b = *static_cast<Bench*>(handle);
  std::vector<uint32_t> records(4 * MULTIPLIERS);
  int asked = 0, answered = 0, number = 0, busy = 0;
  int64_t rows = 0, idle = 0, waited = 0;
  bool was_valid = false, first = true;
  std::deque<uint32_t> held;
  for (int i = 0; i < windows; i++) counts[i] = 0;
  *stall = 0;
  while (answered < windows) {
    if (!b.top->list_valid_i && asked < windows && static_cast<int>(b.random() % 100) >= wait) {
      b.top->list_valid_i = 1;
      b.top->list_block_i = request[4 * asked];
      b.top->list_word_i = request[4 * asked + 1];
      b.top->list_row_i = request[4 * asked + 2];
      b.top->list_column_i = request[4 * asked + 3];
    }
    b.top->pass_ready_i = busy == 0;
    b.top->clk_i = 0;
    b.top->eval();
    if (b.top->step_valid_o) {
      const int step = b.top->step_o;
      for (int c = 0; c < MULTIPLIERS / 48; c++)
        records[(step >> 6) * MULTIPLIERS + 48 * c + 6 * (step >> 3 & 7) + (step & 7)] = bits(b.top->step_record_o, 10 * c, 10);
    }
    if (b.top->pass_valid_o) {
      std::deque<uint32_t> now;
      for (int m = 0; m < MULTIPLIERS; m++) {
        now.push_back(bits(b.top->pass_tap_o, 3 * m, 3));
        now.push_back(bits(b.top->pass_lane_o, 2 * m, 2));
      }
      now.push_back(b.top->pass_number_o);
      now.push_back(b.top->pass_last_o | b.top->pass_empty_o << 1);
      if (was_valid && now != held) b.errors++;
      held = now;
      was_valid = true;
    } else if (was_valid) {
      b.errors++;
      was_valid = false;
    }
    if (busy == 0 && !b.top->pass_valid_o && !first) (*stall)++;
    if (b.top->pass_valid_o && b.top->pass_ready_i) {
      counts[answered]++;
      bool used = false;
      for (int m = 0; m < MULTIPLIERS && !b.top->pass_empty_o; m++) {
        const uint32_t record = records[b.top->pass_number_o * MULTIPLIERS + m];
        if (record & 1) {
          used = true;
          if (rows == room) return -1;
          passes[4 * rows] = number;
          passes[4 * rows + 1] = m;
          passes[4 * rows + 2] = static_cast<int32_t>(((record >> 8) * 3 + (record >> 6 & 3)) * 8 + (record >> 3 & 7) |
                                                      bits(b.top->pass_tap_o, 3 * m, 3) << 8);
          passes[4 * rows + 3] = static_cast<int32_t>((record >> 1 & 3) | bits(b.top->pass_lane_o, 2 * m, 2) << 8);
          rows++;
        }
      }
      if (used == static_cast<bool>(b.top->pass_empty_o)) b.errors++;
      if (b.top->pass_empty_o) counts[answered] |= 0x80000000u;
      first = false;
      number++;
      if (b.top->pass_last_o) answered++;
      busy = used ? (work < 0 ? static_cast<int>(b.random() % static_cast<uint32_t>(-work)) : work) : 0;
      was_valid = false;
    } else if (busy) {
      busy--;
    }
    const bool taken = b.top->list_valid_i && b.top->list_ready_o;
    b.tick();
    if (taken) {
      asked++;
      b.top->list_valid_i = 0;
    }
    idle = rows == waited ? idle + 1 : 0;
    waited = rows;
    if (idle > 100000) return -2;
  }
  b.top->pass_ready_i = 0;
  for (int i = 0; i < 20; i++) {
    b.tick();
    if (b.top->pass_valid_o) return -3;
  }
  return rows;
}

void psg_signs(void* handle, int count, const int32_t* address, uint32_t* decided, uint32_t* value) {
  Bench& b = *static_cast<Bench*>(handle);
  for (int i = 0; i < count + 2; i++) {  // an address per cycle; its answer is there two edges later
    if (i < count) {
      b.top->sign_valid_i = 1;
      b.top->sign_address_i = address[i];
    }
    if (i >= 2) {
      b.top->clk_i = 0;
      b.top->eval();
      decided[i - 2] = b.top->sign_decided_o;
      value[i - 2] = b.top->sign_value_o;
    }
    b.tick();
  }
  b.top->sign_valid_i = 0;
}

// The sum (36 bits) of a lane of a word of the predictor's memory, which is two memories when its depth is no power of two
int64_t psg_sum(void* handle, int lane, int address) {
  auto* root = static_cast<Bench*>(handle)->top->rootp;
  uint64_t word = 0;
#define MAIN(N)                                                                                                  \
  case N:                                                                                                        \
    word = root->jb_predictor__DOT__u_sums__DOT__gen_memory__BRA__##N##__KET____DOT__u_memory__DOT__memory[address]; \
    break;
#define REST(N)                                                                                                                     \
  case N:                                                                                                                           \
    for (int i = 0; i < 3; i++)                                                                                                     \
      pair[i] =                                                                                                                     \
          root->jb_predictor__DOT__u_sums__DOT__gen_rest__DOT__gen_pair__BRA__##N##__KET____DOT__u_memory__DOT__memory[address - 2048][i]; \
    break;
#if MULTIPLIERS >= 192
  if (address >= 2048) {
    uint32_t pair[3] = {0, 0, 0};
    switch (lane / 2) {
      REST(0) REST(1) REST(2) REST(3) REST(4) REST(5) REST(6) REST(7)
      default: break;
    }
    word = lane % 2 ? pair[1] >> 4 | static_cast<uint64_t>(pair[2]) << 28 : pair[0] | static_cast<uint64_t>(pair[1] & 15) << 32;
    return static_cast<int64_t>(word << 28) >> 28;
  }
#endif
  switch (lane) {
    MAIN(0) MAIN(1) MAIN(2) MAIN(3)
#if MULTIPLIERS >= 96
    MAIN(4) MAIN(5) MAIN(6) MAIN(7)
#endif
#if MULTIPLIERS >= 192
    MAIN(8) MAIN(9) MAIN(10) MAIN(11) MAIN(12) MAIN(13) MAIN(14) MAIN(15)
#endif
    default: break;
  }
  return static_cast<int64_t>(word << 28) >> 28;
}

uint64_t psg_peak(void* handle) { return static_cast<Bench*>(handle)->top->peak_o; }
uint32_t psg_decided(void* handle) { return static_cast<Bench*>(handle)->top->decided_o; }
uint32_t psg_undecided(void* handle) { return static_cast<Bench*>(handle)->top->undecided_o; }
uint64_t psg_errors(void* handle) { return static_cast<Bench*>(handle)->errors; }
uint64_t psg_requests(void* handle) { return static_cast<Bench*>(handle)->requests; }
}
