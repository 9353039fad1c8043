// The work list of a weight gradient. Products are formed in passes over the pixels of dz; in a pass each of OutLanes * 12 multipliers
// has one of the 72 values of a window of x (3 x 3 taps of 8 channels) and a channel of dz. For one window and output block at a
// time the scheduler reads the predictor's sums, and gives multipliers to the elements whose |sum| is below the threshold (without
// SELECTIVE: to all). While a pass is worked on, the next one is made, and the next window is read.
//
// Multipliers belong to classes of four channels of dz, 48 each. Multiplier i of a class has 8 candidates among the values of x
// (joulebit.spec.candidates, here by jb_pkg): its home, a channel in the three columns of a row, and one value in five of the six
// places of the other rows. So all of an undivided window are done in six passes by the homes alone, and where few are left, each of
// them has five multipliers to go to. A pass is made in 48 steps, one multiplier of each class at a time (jb_scheduler_class;
// joulebit.accelerator.slots does the same).
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
  output      logic [1:0]               pass_number_o,  // mod 4
  output      logic [36*OutLanes-1:0]   pass_tap_o,     // candidate, per multiplier
  output      logic [24*OutLanes-1:0]   pass_lane_o,    // of the class, per multiplier
  // what they consist of, as they are made
  output      logic                     step_valid_o,
  output      logic [7:0]               step_o,         // number of the pass, i / 6, i mod 6
  output      logic [10*(OutLanes/4)-1:0] step_record_o,  // per class: row, column (2), channel (3), lane (2), used (1)
  // signs
  input  wire logic [15:0]              sign_address_i,
  output      logic [OutLanes-1:0]      sign_decided_o,
  output      logic [2*OutLanes-1:0]    sign_value_o,
  // counts
  output      logic [31:0]              decided_o,
  output      logic [31:0]              undecided_o
);
  localparam int Half = OutLanes < 8 ? OutLanes : 8;
  localparam int Channels = OutLanes / Half;  // of x in a word of sums
  localparam int Classes = OutLanes / 4;
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
  typedef enum logic [2:0] {
    StIdle,
    StBlock,
    StWord,
    StRead,
    StAnswers
  } state_e;
  state_e state_q;
  logic [15:0] sum_q, term_q, factor_q, word_q, tap_row_q, tap_q, group_word_q;
  logic [2:0] row_q, column_q;
  logic [5:0] row_taps;
  logic [1:0] rows_left, columns_left, r_q, c_q;  // of the window: last row and column; counters
  logic [2:0] turn_q;
  logic issue, tap_end, row_end, window_end;
  logic [9:0] flight_q;  // reads whose answers have not arrived everywhere
  logic [1:0] full_q;    // windows whose flags are here
  logic fill_window_q, filled;

  // Windows start at 0, 3 or 6
  assign row_taps     = (row_q[0] ? 6'(kernel_w) : '0) + (row_q[1] ? 6'(kernel_w) << 1 : '0)
                        + (row_q[2] ? 6'(kernel_w) << 2 : '0);
  assign rows_left    = kernel_h - row_q >= 3'd3 ? 2'd2 : 2'(kernel_h - row_q - 3'd1);
  assign columns_left = kernel_w - column_q >= 3'd3 ? 2'd2 : 2'(kernel_w - column_q - 3'd1);
  assign list_ready_o = state_q == StIdle && limit_valid && !full_q[fill_window_q] && !tile_start_i;
  assign issue        = state_q == StRead && !walk_wanted && !walking_q;
  assign filled       = state_q == StAnswers && flight_q == '0;
  assign tap_end      = turn_q == 3'd7;
  assign row_end      = c_q == columns_left;
  assign window_end   = tap_end && row_end && r_q == rows_left;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || tile_start_i) begin
      state_q  <= StIdle;
      flight_q <= '0;
    end else begin
      flight_q <= {flight_q[8:0], issue};
      unique case (state_q)
        StIdle:  if (list_valid_i && list_ready_o) state_q <= StBlock;
        StBlock: if (factor_q == '0) state_q <= StWord;
        StWord:  if (factor_q == '0) state_q <= StRead;
        StRead:  if (issue && window_end) state_q <= StAnswers;
        default: if (filled) state_q <= StIdle;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    unique case (state_q)
      StIdle: begin
        sum_q        <= '0;
        term_q       <= x_words;
        factor_q     <= list_block_i;
        group_word_q <= list_block_i << $clog2(Classes);
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
  logic [2:0] select;  // of the tap's eight words; with two channels of x in a word, halves of the block take turns
  logic [15:0] word_address;
  logic [3:0] position;
  localparam int Tag = 20;
  logic [Tag*(Latency+1)-1:0] tag_q;

  assign select       = Channels == 2 ? {turn_q[0], turn_q[2:1]} : turn_q;
  assign position     = {1'b0, r_q, 1'b0} + {2'b00, r_q} + {2'b00, c_q};
  assign word_address = {tap_q[12:0], select};

  always_ff @(posedge clk_i) begin
    read_valid_o   <= rst_ni && issue;
    read_address_o <= $clog2(Depth)'(word_address);
    tag_q          <= {tag_q[Tag*Latency-1:0], word_address, position};
  end

  logic [OutLanes-1:0] exists, undecided, decided;
  logic [Classes-1:0] class_exists;
  logic [3:0] answer_position;
  logic [15:0] answer_word;

  assign {answer_word, answer_position} = tag_q[Tag*Latency+:Tag];

  for (genvar c = 0; c < Classes; c++) begin : g_exists
    assign class_exists[c] = group_word_q + 16'(c) < g_words;
  end
  for (genvar i = 0; i < OutLanes; i++) begin : g_lane_exists
    if (Channels == 2) begin : g_two
      assign exists[i] = class_exists[{answer_word[2], 1'(i / 4)}];
    end else begin : g_one
      assign exists[i] = class_exists[i/4];
    end
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

  // ---- flags on their way to the classes: a channel of x per cycle and half of the block
  logic [Channels-1:0] write_first_q;
  logic [Channels-1:0] write_second_q;
  logic [OutLanes-1:0] flags_q[Channels];
  logic [3:0] flags_position_q[Channels];
  logic [2:0] flags_channel_q[Channels];

  always_ff @(posedge clk_i) begin
    for (int h = 0; h < Channels; h++) begin
      write_first_q[h]  <= read_valid_i && (Channels == 1 || answer_word[2] == 1'(h));
      write_second_q[h] <= Channels == 2 && write_first_q[h];
      if (read_valid_i && (Channels == 1 || answer_word[2] == 1'(h))) begin
        flags_q[h]          <= undecided;
        flags_position_q[h] <= answer_position;
        flags_channel_q[h]  <= Channels == 2 ? {answer_word[1:0], 1'b0} : answer_word[2:0];
      end
    end
  end

  // ---- passes: 48 steps each
  logic walking_q, walk_wanted, walk_start, walk_end, walk_end_q, walk_window_q, pass_valid_q, used_q, take;
  logic [5:0] i_q, i_next;
  logic [2:0] six_q, six_next, rest_q, rest_next;  // i / 6, i mod 6
  logic [1:0] rows_q[2], columns_q[2];  // last row and column, per window
  logic [10:0] left_q[2];               // undecided elements without a multiplier, per window
  logic [Classes-1:0] used;
  logic [2:0] used_now;
  logic walking1_q;
  logic [7:0] step1_q;
  logic [26:0] channel_d, channel_q, place_d, place_q;
  logic [8:0] home_d, home_q, other_d, other_q;
  logic [1:0] last_row, last_column;

  assign walk_wanted   = full_q[walk_window_q] && !pass_valid_q && !walking_q && !walk_end_q;
  assign walk_start    = walk_wanted && flight_q == '0;
  assign walk_end      = walking_q && i_q == 6'd47;
  assign pass_valid_o  = pass_valid_q;
  assign pass_last_o   = left_q[walk_window_q] == '0;
  assign pass_empty_o  = !used_q;
  assign take          = pass_valid_q && pass_ready_i;
  assign i_next        = walking_q ? i_q + 6'd1 : '0;
  assign rest_next     = !walking_q || rest_q == 3'd5 ? '0 : rest_q + 3'd1;
  assign six_next      = !walking_q ? '0 : rest_q == 3'd5 ? six_q + 3'd1 : six_q;
  assign last_row      = rows_q[walk_window_q];
  assign last_column   = columns_q[walk_window_q];

  always_ff @(posedge clk_i) begin
    if (!rst_ni || tile_start_i) begin
      walking_q     <= 1'b0;
      walk_end_q    <= 1'b0;
      pass_valid_q  <= 1'b0;
      full_q        <= '0;
      fill_window_q <= 1'b0;
      walk_window_q <= 1'b0;
    end else begin
      if (filled) begin
        full_q[fill_window_q] <= 1'b1;
        fill_window_q         <= !fill_window_q;
      end
      if (walk_start && !pass_last_o) walking_q <= 1'b1;
      else if (walk_end) walking_q <= 1'b0;
      walk_end_q <= walk_end;
      if ((walk_start && pass_last_o) || walk_end_q) pass_valid_q <= 1'b1;
      if (take) begin
        pass_valid_q <= 1'b0;
        if (pass_last_o) begin
          full_q[walk_window_q] <= 1'b0;
          walk_window_q         <= !walk_window_q;
        end
      end
    end
  end

  always_comb begin
    used_now = '0;
    for (int c = 0; c < Classes; c++) used_now = used_now + 3'(used[c]);
  end

  always_ff @(posedge clk_i) begin
    i_q    <= i_next;
    six_q  <= six_next;
    rest_q <= rest_next;
    if (walk_start) used_q <= 1'b0;
    else if (walking_q && used != '0) used_q <= 1'b1;
    if (!rst_ni) pass_number_o <= '0;
    else if (take && used_q) pass_number_o <= pass_number_o + 2'd1;
    for (int w = 0; w < 2; w++) begin
      if (state_q == StWord && fill_window_q == 1'(w)) begin
        left_q[w]    <= '0;
        rows_q[w]    <= rows_left;
        columns_q[w] <= columns_left;
      end else if (walking_q && walk_window_q == 1'(w)) begin
        left_q[w] <= left_q[w] - 11'(used_now);
      end else if (fill_window_q == 1'(w)) begin
        left_q[w] <= left_q[w] + 11'(undecided_count_q);
      end
    end
  end

  // The candidates of the next multiplier, by position
  logic [8:0] inside_window;

  always_comb begin
    for (int p = 0; p < 9; p++) inside_window[p] = 2'(p / 3) <= last_row && 2'(p % 3) <= last_column;
  end

  for (genvar p = 0; p < 9; p++) begin : g_position
    logic [2:0] channel[64], place[64];
    logic [63:0] home, other;

    for (genvar i = 0; i < 64; i++) begin : g_multiplier
      localparam logic [3:0] At = i < 48 ? jb_pkg::CANDIDATE_AT[4*(9*(i%48)+p)+:4] : 4'd8;

      assign channel[i] = jb_pkg::CANDIDATE_VALUE[7*(8*(i%48)+32'(At[2:0]))+:3];
      assign place[i]   = At[2:0];
      assign home[i]    = At < 4'(jb_pkg::CANDIDATE_HOMES);
      assign other[i]   = !At[3] && !home[i];
    end

    assign channel_d[3*p+:3] = channel[i_next];
    assign place_d[3*p+:3]   = place[i_next];
    assign home_d[p]         = inside_window[p] && home[i_next];
    assign other_d[p]        = inside_window[p] && other[i_next];
  end

  always_ff @(posedge clk_i) begin
    channel_q <= channel_d;
    place_q   <= place_d;
    home_q    <= home_d;
    other_q   <= other_d;
    walking1_q   <= walking_q;
    step1_q      <= {pass_number_o, six_q, rest_q};
    step_valid_o <= walking1_q;
    step_o       <= step1_q;
  end

  for (genvar c = 0; c < Classes; c++) begin : g_class
    localparam int WriteHalf = Channels == 2 ? c / 2 : 0;
    localparam int Flag = 4 * (c % (Half / 4));  // of the word's first channel

    jb_scheduler_class u_class (
      .clk_i,
      .write_i         (write_first_q[WriteHalf] || write_second_q[WriteHalf]),
      .write_window_i  (fill_window_q),
      .write_position_i(flags_position_q[WriteHalf]),
      .write_channel_i (flags_channel_q[WriteHalf] | {2'b00, write_second_q[WriteHalf]}),
      .write_flags_i   (write_second_q[WriteHalf] ? flags_q[WriteHalf][OutLanes-Half+Flag+:4] : flags_q[WriteHalf][Flag+:4]),
      .step_i          (walking_q),
      .window_i        (walk_window_q),
      .channel_i       (channel_q),
      .home_i          (home_q),
      .other_i         (other_q),
      .place_i         (place_q),
      .used_o          (used[c]),
      .record_o        (step_record_o[10*c+:10]),
      .tap_o           (pass_tap_o[144*c+:144]),
      .lane_o          (pass_lane_o[96*c+:96])
    );
  end
endmodule

`default_nettype wire
