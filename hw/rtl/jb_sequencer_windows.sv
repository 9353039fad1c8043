// The windows of a weight gradient, 3 x 3 taps of a word of x, outer to inner: output block, word of x, row and column of windows.
// Two counters go through them: one asks the scheduler for the lists, ahead of the one to whose window the passes at hand belong.
// A window is over when its last pass is taken.
`default_nettype none

module jb_sequencer_windows #(
  parameter int OutLanes = 16,
  parameter int BankBits = 8,   // of an address in a half of a bank
  parameter int PsumBits = 10
) (
  input  wire logic                clk_i,
  input  wire logic                rst_ni,
  input  wire logic                clear_i,       // until the tile's constants are right
  input  wire logic                begin_i,       // they are: the last cycle of clear_i
  // the tile
  input  wire logic [1023:0]       tile_i,
  input  wire logic                weight_gradient_i,
  input  wire logic [BankBits-1:0] x_quarter_i,   // from word to word of x
  input  wire logic [BankBits-1:0] g_quarter_i,
  input  wire logic [BankBits-1:0] g_block_i,     // of the first block's first word of dz
  input  wire logic [5:0]          taps_i,        // of the kernel
  // lists asked for
  output      logic                list_valid_o,
  input  wire logic                list_ready_i,
  output      logic [15:0]         list_block_o,
  output      logic [15:0]         list_word_o,
  output      logic [2:0]          list_row_o,
  output      logic [2:0]          list_column_o,
  // the window at hand
  input  wire logic                next_i,        // pulse: its last pass is taken
  output      logic                block_end_o,   // with next_i: and so is the block's
  output      logic                done_o,        // no window is left
  output      logic [15:0]         word_o,
  output      logic [15:0]         g_word_o,      // first word of dz
  output      logic [2:0]          row_o,
  output      logic [2:0]          column_o,
  output      logic [BankBits-1:0] x_base_o,
  output      logic [BankBits-1:0] g_base_o,
  output      logic [PsumBits-4:0] tap_o,         // number of its first tap, counted over blocks, words, rows, columns
  output      logic [PsumBits-3:0] word_tap_o,    // of its word's first tap
  output      logic [PsumBits-3:0] word_end_tap_o // and of the next word's
);
  localparam int QuadBits = $clog2(OutLanes / 4);

  logic [15:0] x_words, out_block, out_blocks;
  logic [7:0] kernel_w;
  logic [2:0] kernel_h;

  assign x_words    = tile_i[jb_pkg::X_WORDS_LSB+:16];
  assign kernel_h   = tile_i[jb_pkg::KERNEL_H_LSB+:3];
  assign kernel_w   = tile_i[jb_pkg::KERNEL_W_LSB+:8];
  assign out_block  = tile_i[jb_pkg::OUT_BLOCK_LSB+:16];
  assign out_blocks = tile_i[jb_pkg::OUT_BLOCKS_LSB+:16];

  // ---- the window to ask for
  logic [15:0] ask_block_q, ask_word_q;
  logic [2:0] ask_row_q, ask_column_q;
  logic ask_q, ask_column_end, ask_row_end, ask_word_end;

  assign list_valid_o   = ask_q;
  assign list_block_o   = out_block + ask_block_q;
  assign list_word_o    = ask_word_q;
  assign list_row_o     = ask_row_q;
  assign list_column_o  = ask_column_q;
  assign ask_column_end = ask_column_q + 3'd3 >= kernel_w[2:0] || ask_column_q == 3'd6;
  assign ask_row_end    = ask_row_q + 3'd3 >= kernel_h || ask_row_q == 3'd6;
  assign ask_word_end   = ask_word_q == x_words - 16'd1;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) ask_q <= 1'b0;
    else if (begin_i) ask_q <= weight_gradient_i;
    else if (list_ready_i && ask_column_end && ask_row_end && ask_word_end && ask_block_q == out_blocks - 16'd1) ask_q <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (clear_i) begin
      ask_block_q  <= '0;
      ask_word_q   <= '0;
      ask_row_q    <= '0;
      ask_column_q <= '0;
    end else if (ask_q && list_ready_i) begin
      ask_column_q <= ask_column_end ? '0 : ask_column_q + 3'd3;
      if (ask_column_end) ask_row_q <= ask_row_end ? '0 : ask_row_q + 3'd3;
      if (ask_column_end && ask_row_end) ask_word_q <= ask_word_end ? '0 : ask_word_q + 16'd1;
      if (ask_column_end && ask_row_end && ask_word_end) ask_block_q <= ask_block_q + 16'd1;
    end
  end

  // ---- the window of the passes
  logic [15:0] run_block_q, run_word_q;
  logic [2:0] run_row_q, run_column_q;
  logic run_column_end, run_row_end, run_word_end;
  logic [BankBits-1:0] run_x_base_q, run_g_base_q, block_words;
  logic [PsumBits-3:0] run_tap_q, run_row_tap_q;  // of the word's first tap, and from there to the window's row

  assign run_column_end = run_column_q + 3'd3 >= kernel_w[2:0] || run_column_q == 3'd6;
  assign run_row_end    = run_row_q + 3'd3 >= kernel_h || run_row_q == 3'd6;
  assign run_word_end   = run_word_q == x_words - 16'd1;
  assign block_words    = BankBits'(g_quarter_i << QuadBits);
  assign block_end_o    = run_column_end && run_row_end && run_word_end;
  assign done_o         = run_block_q == out_blocks;
  assign word_o         = run_word_q;
  assign g_word_o       = 16'((out_block + run_block_q) << QuadBits);
  assign row_o          = run_row_q;
  assign column_o       = run_column_q;
  assign x_base_o       = run_x_base_q;
  assign g_base_o       = run_g_base_q;
  assign tap_o          = (PsumBits - 3)'(run_tap_q + run_row_tap_q + (PsumBits - 2)'(run_column_q));
  assign word_tap_o     = run_tap_q;
  assign word_end_tap_o = run_tap_q + (PsumBits - 2)'(taps_i);

  always_ff @(posedge clk_i) begin
    if (clear_i) begin
      run_block_q   <= '0;
      run_word_q    <= '0;
      run_row_q     <= '0;
      run_column_q  <= '0;
      run_x_base_q  <= '0;
      run_g_base_q  <= g_block_i;
      run_tap_q     <= '0;
      run_row_tap_q <= '0;
    end else if (next_i) begin
      run_column_q <= run_column_end ? '0 : run_column_q + 3'd3;
      if (run_column_end) begin
        run_row_q     <= run_row_end ? '0 : run_row_q + 3'd3;
        run_row_tap_q <= run_row_end ? '0 : run_row_tap_q + (PsumBits - 2)'(kernel_w) + (PsumBits - 2)'(kernel_w << 1);
        if (run_row_end) begin
          run_word_q   <= run_word_end ? '0 : run_word_q + 16'd1;
          run_x_base_q <= run_word_end ? '0 : run_x_base_q + x_quarter_i;
          run_tap_q    <= word_end_tap_o;
          if (run_word_end) begin
            run_block_q  <= run_block_q + 16'd1;
            run_g_base_q <= run_g_base_q + block_words;
          end
        end
      end
    end
  end

  logic unused;
  assign unused = ^{tile_i, taps_i};
endmodule

`default_nettype wire
