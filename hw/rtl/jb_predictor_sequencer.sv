// The order of the predictor's products. A pass is a word of dz (4 channels), a word of x, a kernel row, three kernel columns
// and a part of the channels of the word of x, in this order from the outside in; it takes the pixels of dz two per cycle, one below the
// other, in segments of at most 32 cycles, after each of which the sums of the segment are drained. The next segment ends only after that.
`default_nettype none

module jb_predictor_sequencer #(
  parameter int Groups = 4,  // words of dz in an output block: 1, 2 or 4
  parameter int Parts  = 1,  // passes for a word of x: 1, 2 or 4
  parameter int GradientAddressBits = 11
) (
  input  wire logic               clk_i,
  input  wire logic               rst_ni,
  input  wire logic               start_i,
  input  wire logic [1023:0]      tile_i,            // steady from start_i to done_o
  input  wire logic [15:0]        group_step_i,      // x buffer: words * ceil(columns / 4); steady likewise
  input  wire logic [15:0]        image_step_i,      // ceil(rows / 4) * group_step
  output      logic               busy_o,
  output      logic               done_o,            // pulse: the last segment is drained
  // two pixels per cycle: request to the x buffer for the upper one, address of dz, and the segment's tag
  output      logic               valid_o,
  output      logic [15:0]        base_o,
  output      logic [17:0]        row_o,
  output      logic [17:0]        column_o,
  output      logic [ 1:0]        word_o,
  output      logic [GradientAddressBits-1:0] gradient_o,
  output      logic               lower_o,           // there is a row for the lower one
  output      logic [ 1:0]        part_o,
  output      logic               end_o,             // the pixel is the last of a segment
  // tag of the segment that ended last
  output      logic [15:0]        segment_tap_o,     // number of its first tap: (block * x_words + word) * taps + tap
  output      logic [ 1:0]        segment_part_o,
  output      logic [ 1:0]        segment_group_o,   // word of dz in the block
  output      logic [ 1:0]        segment_columns_o, // taps that exist, 1..3
  output      logic               segment_first_o,   // of its pass
  output      logic               segment_last_o,    // of its pass
  input  wire logic               released_i,        // pulse: its tag has been taken
  input  wire logic               drained_i          // pulse: it is in the sums
);
  localparam int Segment = 32;

  logic [15:0] images, rows, columns, x_words, g_words;
  logic [7:0] kernel_h, kernel_w, pad_top, pad_left;
  logic [2:0] step;
  logic [15:0] quarter;

  assign images   = tile_i[jb_pkg::IMAGES_LSB+:16];
  assign rows     = tile_i[jb_pkg::G_ROWS_LSB+:16];
  assign columns  = tile_i[jb_pkg::G_COLUMNS_LSB+:16];
  assign x_words  = tile_i[jb_pkg::X_WORDS_LSB+:16];
  assign g_words  = tile_i[jb_pkg::G_WORDS_LSB+:16];
  assign kernel_h = tile_i[jb_pkg::KERNEL_H_LSB+:8];
  assign kernel_w = tile_i[jb_pkg::KERNEL_W_LSB+:8];
  assign pad_top  = tile_i[jb_pkg::PAD_TOP_LSB+:8];
  assign pad_left = tile_i[jb_pkg::PAD_LEFT_LSB+:8];
  assign step     = tile_i[jb_pkg::STRIDE_LSB+:3];
  assign quarter  = 16'((17'(tile_i[jb_pkg::X_COLUMNS_LSB+:16]) + 17'd3) >> 2);

  // ---- passes: the next one waits in pass_*_q
  logic pass_valid_q, taken;
  logic [1:0] pass_part_q, block_group_q;
  logic [15:0] group_q, word_q, word_base_q, tap_q, block_tap_q, next_tap;
  logic [7:0] kernel_row_q, kernel_column_q;
  logic [1:0] taps;
  logic [17:0] first_row, first_column;
  logic [15:0] row_base;
  logic part_end, column_end, row_end, word_end, group_end;

  assign taps         = kernel_w - kernel_column_q >= 8'd3 ? 2'd3 : 2'(kernel_w - kernel_column_q);
  assign part_end     = pass_part_q == 2'(Parts - 1);
  assign column_end   = kernel_w - kernel_column_q <= 8'd3;
  assign row_end      = kernel_row_q == kernel_h - 8'd1;
  assign word_end     = word_q == x_words - 16'd1;
  assign group_end    = group_q + 16'd1 == g_words;
  assign next_tap     = tap_q + 16'(taps);
  assign first_row    = 18'(kernel_row_q) - 18'(pad_top);
  assign first_column = 18'(kernel_column_q) - 18'(pad_left);

  always_comb begin  // rows -8..7
    unique case (first_row[3:2])
      2'b00: row_base = '0;
      2'b01: row_base = group_step_i;
      2'b10: row_base = -(group_step_i << 1);
      default: row_base = -group_step_i;
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      pass_valid_q <= 1'b0;
    end else if (start_i) begin
      pass_valid_q    <= 1'b1;
      pass_part_q     <= '0;
      group_q         <= '0;
      word_q          <= '0;
      word_base_q     <= '0;
      kernel_row_q    <= '0;
      kernel_column_q <= '0;
      tap_q           <= '0;
      block_tap_q     <= '0;
      block_group_q   <= '0;
    end else if (taken) begin
      pass_part_q <= part_end ? '0 : pass_part_q + 2'd1;
      if (part_end) begin
        tap_q           <= next_tap;
        kernel_column_q <= column_end ? '0 : kernel_column_q + 8'd3;
        if (column_end) kernel_row_q <= row_end ? '0 : kernel_row_q + 8'd1;
        if (column_end && row_end) begin
          word_q      <= word_end ? '0 : word_q + 16'd1;
          word_base_q <= word_end ? '0 : word_base_q + quarter;
          if (word_end) begin
            group_q <= group_q + 16'd1;
            if (block_group_q != 2'(Groups - 1)) begin  // the block's taps once more
              block_group_q <= block_group_q + 2'd1;
              tap_q         <= block_tap_q;
            end else begin
              block_group_q <= '0;
              block_tap_q   <= next_tap;
            end
            if (group_end) pass_valid_q <= 1'b0;
          end
        end
      end
    end
  end

  // ---- pixels of the current pass
  logic active_q, pass_first_q, waiting_q;
  logic [1:0] part_q, group_now_q;
  logic [15:0] tap_now_q, image_q, n_q, m_q, base_q, image_base_q, row_base_q;
  logic [1:0] taps_q, word_now_q;
  logic [17:0] row_q, column_q, first_row_q, first_column_q, next_row;
  logic [4:0] count_q;
  logic [GradientAddressBits-1:0] gradient_q;
  logic last_column, last_row, lower, pass_end, segment_end, go;
  logic [15:0] next_image_base, rows_less;

  assign last_column     = m_q == columns - 16'd1;
  assign rows_less       = rows - 16'd1;
  assign last_row        = n_q[15:1] == rows_less[15:1];  // n_q is the upper row: even
  assign lower           = !last_row || rows_less[0];
  assign pass_end        = last_column && last_row && image_q == images - 16'd1;
  assign segment_end     = pass_end || count_q == 5'(Segment - 1);
  assign go              = active_q && !(segment_end && waiting_q);
  assign taken           = pass_valid_q && (!active_q || (go && pass_end));
  assign next_row        = row_q + {14'd0, step, 1'b0};
  assign next_image_base = image_base_q + image_step_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || start_i) active_q <= 1'b0;
    else if (taken) active_q <= 1'b1;
    else if (go && pass_end) active_q <= 1'b0;

    if (taken) begin
      image_q        <= '0;
      n_q            <= '0;
      m_q            <= '0;
      count_q        <= '0;
      pass_first_q   <= 1'b1;
      first_row_q    <= first_row;
      first_column_q <= first_column;
      row_q          <= first_row;
      column_q       <= first_column;
      row_base_q     <= row_base;
      image_base_q   <= word_base_q;
      base_q         <= word_base_q + row_base;
      gradient_q     <= GradientAddressBits'(group_q);
      part_q         <= pass_part_q;
      group_now_q    <= block_group_q;
      tap_now_q      <= tap_q;
      taps_q         <= taps;
      word_now_q     <= word_q[1:0];
    end else if (go) begin
      count_q    <= count_q + 5'd1;
      gradient_q <= gradient_q + GradientAddressBits'(g_words);
      if (segment_end) pass_first_q <= 1'b0;
      if (!last_column) begin
        m_q      <= m_q + 16'd1;
        column_q <= column_q + 18'(step);
      end else begin
        m_q      <= '0;
        column_q <= first_column_q;
        if (!last_row) begin
          n_q   <= n_q + 16'd2;
          row_q <= next_row;
          if (next_row[2] != row_q[2]) base_q <= base_q + group_step_i;
        end else begin
          n_q          <= '0;
          row_q        <= first_row_q;
          image_q      <= image_q + 16'd1;
          image_base_q <= next_image_base;
          base_q       <= next_image_base + row_base_q;
        end
      end
    end
  end

  // ---- one segment at most is between its last pixel and its drain, one more between there and the sums
  always_ff @(posedge clk_i) begin
    if (!rst_ni || start_i) begin
      waiting_q <= 1'b0;
    end else if (go && segment_end) begin
      waiting_q         <= 1'b1;
      segment_tap_o     <= tap_now_q;
      segment_part_o    <= part_q;
      segment_group_o   <= group_now_q;
      segment_columns_o <= taps_q;
      segment_first_o   <= pass_first_q;
      segment_last_o    <= pass_end;
    end else if (released_i) begin
      waiting_q <= 1'b0;
    end
  end

  logic [1:0] undrained_q;  // segments that are not in the sums yet
  logic last_drained;

  assign last_drained = drained_i && undrained_q == 2'd1 && !active_q && !pass_valid_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || start_i) undrained_q <= '0;
    else undrained_q <= undrained_q + 2'(go && segment_end) - 2'(drained_i);
    if (!rst_ni) begin
      busy_o <= 1'b0;
      done_o <= 1'b0;
    end else begin
      done_o <= busy_o && last_drained;
      if (start_i) busy_o <= 1'b1;
      else if (last_drained) busy_o <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    valid_o         <= go && rst_ni && !start_i;
    end_o           <= segment_end;
    base_o          <= base_q;
    row_o           <= row_q;
    column_o        <= column_q;
    word_o          <= word_now_q;
    gradient_o      <= gradient_q;
    lower_o         <= lower;
    part_o          <= part_q;
  end

  logic unused;
  assign unused = ^tile_i;
endmodule

`default_nettype wire
