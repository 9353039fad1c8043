// The order of a tile's steps: which one is next, and its parameters. Forward and input gradient go by jb_sequencer_loops, one step for each
// group of weights; weight gradients by jb_sequencer_windows, one for each pass of a window's list. jb_sequencer_step makes either
// into where to walk and where to add. Outputs of the step are registers, taken with prepare_i.
`default_nettype none

module jb_sequencer_order #(
  parameter int OutLanes = 16,
  parameter int BankBits = 8,   // of an address in a half of a bank
  parameter int PsumBits = 10
) (
  input  wire logic                clk_i,
  input  wire logic                rst_ni,
  // the tile's course (jb_sequencer_control)
  input  wire logic                start_i,         // pulse: a tile begins
  input  wire logic                setup_i,         // its constants are being made
  input  wire logic                setup_end_i,
  input  wire logic                prepare_i,
  input  wire logic                count_i,         // pulse: forward and input gradient, on to the next step
  input  wire logic                block_take_i,    // pulse: likewise, a block is handed over
  input  wire logic                window_take_i,   // pulse: weight gradient, the window's last pass is taken
  // the tile
  input  wire logic [1023:0]       tile_i,
  input  wire logic                forward_i,
  input  wire logic                input_gradient_i,
  input  wire logic                weight_gradient_i,
  input  wire logic                phases_i,
  input  wire logic [BankBits-1:0] x_quarter_i,     // constants (jb_sequencer_geometry)
  input  wire logic [BankBits-1:0] g_quarter_i,
  input  wire logic [BankBits-1:0] g_block_i,
  input  wire logic [5:0]          taps_i,
  // lists of windows
  output      logic                list_valid_o,
  input  wire logic                list_ready_i,
  output      logic [15:0]         list_block_o,
  output      logic [15:0]         list_word_o,
  output      logic [2:0]          list_row_o,
  output      logic [2:0]          list_column_o,
  // the next step: its walks (jb_sequencer_step)
  output      logic [15:0]         images_o,
  output      logic [15:0]         rows_o,
  output      logic [15:0]         columns_o,
  output      logic                empty_o,
  output      logic [17:0]         x_row_o,
  output      logic [17:0]         x_column_o,
  output      logic [BankBits-1:0] x_base_o,
  output      logic [15:0]         x_word_o,
  output      logic [17:0]         g_row_o,
  output      logic [17:0]         g_column_o,
  output      logic [BankBits-1:0] g_base_o,
  output      logic [15:0]         g_word_o,
  // its sums and weights
  output      logic [PsumBits-1:0] address_o,
  output      logic                first_o,
  output      logic                odd_o,
  output      logic                weights_o,
  output      logic [1:0]          products_o,
  output      logic                weights_end_o,
  output      logic                block_end_o,
  output      logic                tile_end_o,
  // blocks and windows
  output      logic                blocks_done_o,
  output      logic [2:0]          quads_o,
  output      logic [18:0]         quads_left_o,
  output      logic                windows_done_o,
  output      logic [PsumBits-4:0] window_tap_o,
  output      logic [PsumBits-3:0] word_tap_o,
  output      logic [PsumBits-3:0] word_end_tap_o
);
  logic [1:0] phase;
  logic [15:0] group, left, window_word, window_g_word;
  logic [7:0] row, column;
  logic [BankBits-1:0] word_base, window_x_base, window_g_base;
  logic [2:0] window_row, window_column;
  logic empty_phase, loop_first, window_block_end;

  jb_sequencer_loops #(
    .OutLanes(OutLanes),
    .BankBits(BankBits)
  ) u_loops (
    .clk_i,
    .start_i,
    .prepare_i,
    .count_i,
    .block_take_i    (weight_gradient_i ? window_take_i && window_block_end : block_take_i),
    .tile_i,
    .input_gradient_i,
    .phases_i,
    .x_quarter_i,
    .g_quarter_i,
    .phase_o         (phase),
    .group_o         (group),
    .left_o          (left),
    .row_o           (row),
    .column_o        (column),
    .word_base_o     (word_base),
    .empty_o         (empty_phase),
    .first_o         (loop_first),
    .weights_end_o,
    .block_end_o,
    .tile_end_o,
    .blocks_done_o,
    .quads_o,
    .quads_left_o
  );

  jb_sequencer_windows #(
    .OutLanes(OutLanes),
    .BankBits(BankBits),
    .PsumBits(PsumBits)
  ) u_windows (
    .clk_i,
    .rst_ni,
    .clear_i          (setup_i),
    .begin_i          (setup_end_i),
    .tile_i,
    .weight_gradient_i,
    .x_quarter_i,
    .g_quarter_i,
    .g_block_i,
    .taps_i,
    .list_valid_o,
    .list_ready_i,
    .list_block_o,
    .list_word_o,
    .list_row_o,
    .list_column_o,
    .next_i           (window_take_i),
    .block_end_o      (window_block_end),
    .done_o           (windows_done_o),
    .word_o           (window_word),
    .g_word_o         (window_g_word),
    .row_o            (window_row),
    .column_o         (window_column),
    .x_base_o         (window_x_base),
    .g_base_o         (window_g_base),
    .tap_o            (window_tap_o),
    .word_tap_o,
    .word_end_tap_o
  );

  jb_sequencer_step #(
    .BankBits(BankBits),
    .PsumBits(PsumBits)
  ) u_step (
    .clk_i,
    .prepare_i,
    .tile_i,
    .forward_i,
    .input_gradient_i,
    .weight_gradient_i,
    .phases_i,
    .phase_i          (phase),
    .group_i          (group),
    .left_i           (left),
    .row_i            (row),
    .column_i         (column),
    .word_base_i      (word_base),
    .empty_phase_i    (empty_phase),
    .first_i          (loop_first),
    .window_word_i    (window_word),
    .window_g_word_i  (window_g_word),
    .window_row_i     (window_row),
    .window_column_i  (window_column),
    .window_x_base_i  (window_x_base),
    .window_g_base_i  (window_g_base),
    .images_o,
    .rows_o,
    .columns_o,
    .empty_o,
    .x_row_o,
    .x_column_o,
    .x_base_o,
    .x_word_o,
    .g_row_o,
    .g_column_o,
    .g_base_o,
    .g_word_o,
    .address_o,
    .first_o,
    .odd_o,
    .weights_o,
    .products_o
  );
endmodule

`default_nettype wire
