// The work list of a weight gradient. Products are formed in passes over the pixels of dz; in a pass each of OutLanes * 6 slots has
// one of the 72 values of a window of x (3 x 3 taps of 8 channels) and two channels of dz. For one window and output block at a
// time the scheduler reads the predictor's sums, and gives slots to the elements whose |sum| is below the threshold (without SELECTIVE:
// to all). While a pass is worked on, the next one is made.
//
// Slots belong to classes: to a half of the output block's channels (as the multipliers' lanes do) and to channels 0..3 or 4..7 of the
// word of x, which halves the selectors. Class (half, part) has slots (half * 2 + part) * Slots / Classes on; a pass
// ends when every class is full or has no more elements, so that a window takes max over classes of ceil(slots needed / slots there) passes,
// and at least one (joulebit.accelerator.slots computes the same).
`default_nettype none

module jb_scheduler #(
  parameter int OutLanes = 16,   // channels of dz in an output block
  parameter int Depth    = 2304  // words of the predictor's sums
) (
  input  wire logic                     clk_i,
  input  wire logic                     rst_ni,
  input  wire logic                     tile_start_i,
  input  wire logic [1023:0]            tile_i,
  input  wire logic [35:0]              peak_i,
  // jb_predictor_sums; the answer to a read comes 6 cycles later
  output      logic                     read_valid_o,
  output      logic [$clog2(Depth)-1:0] read_address_o,
  output      logic [35:0]              read_limit_o,
  input  wire logic                     read_valid_i,
  input  wire logic [OutLanes-1:0]      read_above_i,
  input  wire logic [OutLanes-1:0]      read_negative_i,
  // windows
  input  wire logic                     list_valid_i,
  output      logic                     list_ready_o,
  input  wire logic [15:0]              list_block_i,
  input  wire logic [15:0]              list_word_i,
  input  wire logic [2:0]               list_row_i,
  input  wire logic [2:0]               list_column_i,
  // passes
  output      logic                     pass_valid_o,
  input  wire logic                     pass_ready_i,
  output      logic                     pass_last_o,
  output      logic                     pass_empty_o,
  output      logic [7*6*OutLanes-1:0]  pass_tap_o,
  output      logic [6*6*OutLanes-1:0]  pass_lane_o,
  output      logic [2*6*OutLanes-1:0]  pass_use_o,
  // signs
  input  wire logic [15:0]              sign_address_i,
  output      logic [OutLanes-1:0]      sign_decided_o,
  output      logic [2*OutLanes-1:0]    sign_value_o,
  // counts
  output      logic [31:0]              decided_o,
  output      logic [31:0]              undecided_o
);
  localparam int Half = OutLanes < 8 ? OutLanes : 8;
  localparam int Halves = OutLanes / Half;
  localparam int Channels = OutLanes / Half;  // of x in a word of sums
  localparam int Classes = 2 * Halves;
  localparam int ClassSlots = 6 * OutLanes / Classes;
  localparam int QueueDepth = Channels == 2 ? 32 : 64;  // a window has 18 or 36 words of a class
  localparam int Latency = 6;

  logic [15:0] x_words, g_words;
  logic [2:0] kernel_h, kernel_w;
  logic [5:0] taps;
  logic selective, limit_valid;

  assign x_words   = tile_i[jb_pkg::X_WORDS_LSB+:16];
  assign g_words   = tile_i[jb_pkg::G_WORDS_LSB+:16];
  assign kernel_h  = tile_i[jb_pkg::KERNEL_H_LSB+:3];
  assign kernel_w  = tile_i[jb_pkg::KERNEL_W_LSB+:3];
  assign selective = tile_i[jb_pkg::FLAGS_LSB+jb_pkg::FLAG_SELECTIVE];
  assign taps      = (kernel_h[0] ? 6'(kernel_w) : '0) + (kernel_h[1] ? 6'(kernel_w) << 1 : '0)
                     + (kernel_h[2] ? 6'(kernel_w) << 2 : '0);

  jb_scheduler_threshold u_threshold (
    .clk_i,
    .rst_ni,
    .start_i    (tile_start_i),
    .threshold_i(tile_i[jb_pkg::THRESHOLD_Q12_LSB+:16]),
    .peak_i,
    .valid_o    (limit_valid),
    .limit_o    (read_limit_o)
  );

  // ---- a window: number of its first tap, (block * x_words + word) * taps + row * kernel_w + column, bit by bit
  typedef enum logic [1:0] {
    StIdle,
    StBlock,
    StWord,
    StWalk
  } state_e;
  state_e state_q;
  logic [15:0] sum_q, term_q, factor_q, word_q, tap_row_q, tap_q, group_word_q;
  logic [2:0] row_q, column_q;
  logic [5:0] row_taps;
  logic [1:0] rows_left, columns_left, r_q, c_q;  // of the window: last row and column; counters
  logic [2:0] turn_q;
  logic issue, tap_end, row_end, window_end, idle_list;
  logic [Classes-1:0] full;

  // Windows start at 0, 3 or 6
  assign row_taps     = (row_q[0] ? 6'(kernel_w) : '0) + (row_q[1] ? 6'(kernel_w) << 1 : '0)
                        + (row_q[2] ? 6'(kernel_w) << 2 : '0);
  assign rows_left    = kernel_h - row_q >= 3'd3 ? 2'd2 : 2'(kernel_h - row_q - 3'd1);
  assign columns_left = kernel_w - column_q >= 3'd3 ? 2'd2 : 2'(kernel_w - column_q - 3'd1);
  assign idle_list    = state_q == StIdle && limit_valid;
  assign list_ready_o = idle_list && !tile_start_i;
  assign issue        = state_q == StWalk && full == '0;
  assign tap_end      = turn_q == 3'd7;
  assign row_end      = c_q == columns_left;
  assign window_end   = tap_end && row_end && r_q == rows_left;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || tile_start_i) begin
      state_q <= StIdle;
    end else begin
      unique case (state_q)
        StIdle:  if (list_valid_i && idle_list) state_q <= StBlock;
        StBlock: if (factor_q == '0) state_q <= StWord;
        StWord:  if (factor_q == '0) state_q <= StWalk;
        default: if (issue && window_end) state_q <= StIdle;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    unique case (state_q)
      StIdle: begin
        sum_q        <= '0;
        term_q       <= x_words;
        factor_q     <= list_block_i;
        group_word_q <= list_block_i << $clog2(OutLanes / 4);
        word_q       <= list_word_i;
        row_q        <= list_row_i;
        column_q     <= list_column_i;
      end
      StBlock: begin
        if (factor_q == '0) begin
          sum_q    <= 16'(row_taps) + 16'(column_q);
          term_q   <= sum_q + word_q;
          factor_q <= 16'(taps);
        end else begin
          if (factor_q[0]) sum_q <= sum_q + term_q;
          term_q   <= term_q << 1;
          factor_q <= factor_q >> 1;
        end
      end
      StWord: begin
        if (factor_q[0]) sum_q <= sum_q + term_q;
        term_q    <= term_q << 1;
        factor_q  <= factor_q >> 1;
        tap_q     <= sum_q;
        tap_row_q <= sum_q;
        r_q       <= '0;
        c_q       <= '0;
        turn_q    <= '0;
      end
      default: begin
        if (issue) begin
          turn_q <= turn_q + 3'd1;
          if (tap_end) begin
            c_q   <= row_end ? '0 : c_q + 2'd1;
            tap_q <= row_end ? tap_row_q + 16'(kernel_w) : tap_q + 16'd1;
            if (row_end) begin
              r_q       <= r_q + 2'd1;
              tap_row_q <= tap_row_q + 16'(kernel_w);
            end
          end
        end
      end
    endcase
  end

  // ---- reads, and what belongs to them until the answer is there
  logic [2:0] select;  // of the tap's eight words, so that classes take turns
  logic [15:0] word_address;
  logic [1:0] class_now;
  logic last_now, exists_low, exists_high, tap_end_of_class;
  logic [3:0] position;
  localparam int Tag = 16 + 2 + 4 + 2 + 1 + 2;
  logic [Tag-1:0] tag_d, tag;
  logic [Tag*(Latency+1)-1:0] tag_q;

  if (Halves == 2) begin : gen_two_halves
    assign select      = {turn_q[1:0], turn_q[2]};
    assign class_now   = select[2:1];
    assign last_now    = select[0] && tap_end_of_class;
    assign exists_low  = group_word_q + {14'd0, select[2], 1'b0} < g_words;
    assign exists_high = group_word_q + {14'd0, select[2], 1'b1} < g_words;
    assign tag_d = {word_address, class_now, position, select[0], 1'b0, last_now, exists_high, exists_low};
  end else begin : gen_one_half
    assign select      = {turn_q[0], turn_q[2:1]};
    assign class_now   = {1'b0, select[2]};
    assign last_now    = select[1:0] == 2'd3 && tap_end_of_class;
    assign exists_low  = group_word_q < g_words;
    assign exists_high = group_word_q + 16'd1 < g_words;
    assign tag_d = {word_address, class_now, position, select[1:0], last_now, exists_high, exists_low};
  end
  assign tap_end_of_class = row_end && r_q == rows_left;
  assign position         = {1'b0, r_q, 1'b0} + {2'b00, r_q} + {2'b00, c_q};
  assign word_address     = {tap_q[12:0], select};

  always_ff @(posedge clk_i) begin
    read_valid_o   <= rst_ni && issue;
    read_address_o <= $clog2(Depth)'(word_address);
    tag_q          <= {tag_q[Tag*Latency-1:0], tag_d};
  end
  assign tag = tag_q[Tag*Latency+:Tag];

  logic [OutLanes-1:0] exists, undecided, decided;
  logic exists_low_now, exists_high_now, last;
  logic [1:0] channel, answer_class;
  logic [3:0] answer_position;
  logic [15:0] answer_word;

  assign {answer_word, answer_class, answer_position, channel, last, exists_high_now, exists_low_now} = tag;

  for (genvar i = 0; i < OutLanes; i++) begin : gen_exists
    assign exists[i] = (i % Half) < 4 ? exists_low_now : exists_high_now;
  end
  assign decided   = selective ? exists & read_above_i : '0;
  assign undecided = exists & ~decided;

  logic [4:0] decided_now, undecided_now, decided_count_q, undecided_count_q;
  always_comb begin
    decided_now   = '0;
    undecided_now = '0;
    for (int i = 0; i < OutLanes; i++) begin
      decided_now   = decided_now + 5'(decided[i]);
      undecided_now = undecided_now + 5'(undecided[i]);
    end
  end
  always_ff @(posedge clk_i) begin
    decided_count_q   <= read_valid_i ? decided_now : '0;
    undecided_count_q <= read_valid_i ? undecided_now : '0;
    if (!rst_ni || tile_start_i) begin
      decided_o   <= '0;
      undecided_o <= '0;
    end else begin
      decided_o   <= decided_o + 32'(decided_count_q);
      undecided_o <= undecided_o + 32'(undecided_count_q);
    end
  end

  jb_scheduler_signs #(
    .OutLanes(OutLanes),
    .Half    (Half),
    .Depth   (Depth)
  ) u_signs (
    .clk_i,
    .write_i     (read_valid_i && selective),
    .write_word_i(answer_word),
    .decided_i   (decided),
    .negative_i  (read_negative_i),
    .sign_address_i,
    .sign_decided_o,
    .sign_value_o
  );

  // ---- slots
  logic [Classes-1:0] settled, done, used;
  logic take;

  assign pass_valid_o = settled == '1;
  assign pass_last_o  = done == '1;
  assign pass_empty_o = used == '0;
  assign take         = pass_valid_o && pass_ready_i;

  for (genvar k = 0; k < Classes; k++) begin : gen_class
    logic [ClassSlots*6-1:0] tap;
    jb_scheduler_class #(
      .Half    (Half),
      .Channels(Channels),
      .Slots   (ClassSlots),
      .Depth   (QueueDepth)
    ) u_class (
      .clk_i,
      .rst_ni,
      .push_i    (read_valid_i && answer_class == 2'(k)),
      .flags_i   (undecided),
      .position_i(answer_position),
      .channel_i (channel),
      .last_i    (last),
      .full_o    (full[k]),
      .settled_o (settled[k]),
      .done_o    (done[k]),
      .used_o    (used[k]),
      .release_i (take),
      .release_window_i(pass_last_o),
      .tap_o     (tap),
      .lane_o    (pass_lane_o[k*ClassSlots*6+:ClassSlots*6]),
      .use_o     (pass_use_o[k*ClassSlots*2+:ClassSlots*2])
    );
    for (genvar s = 0; s < ClassSlots; s++) begin : gen_tap
      assign pass_tap_o[(k*ClassSlots+s)*7+:7] = {tap[6*s+2+:4], 1'(k % 2), tap[6*s+:2]};
    end
  end
endmodule

`default_nettype wire
