// The loops of forward and input gradient, outer to inner: output block, phase, group of channels, kernel row, kernel column. They
// stand at the next step while prepare_i; what is said of it in registers is taken then. count_i goes on to the step after it.
`default_nettype none

module jb_sequencer_loops #(
  parameter int OutLanes = 16,
  parameter int BankBits = 8    // of an address in a half of a bank
) (
  input  wire logic                clk_i,
  input  wire logic                start_i,           // pulse: a tile begins
  input  wire logic                prepare_i,
  input  wire logic                count_i,
  input  wire logic                block_take_i,      // pulse: a block is finished (never with count_i)
  // the tile
  input  wire logic [1023:0]       tile_i,
  input  wire logic                input_gradient_i,
  input  wire logic                phases_i,
  input  wire logic [BankBits-1:0] x_quarter_i,       // from word to word of x
  input  wire logic [BankBits-1:0] g_quarter_i,
  // the next step
  output      logic [1:0]          phase_o,           // parities of its taps' row and column (input gradient, stride 2)
  output      logic [15:0]         group_o,           // its first channel, in fours
  output      logic [15:0]         left_o,            // channels from there on, in fours
  output      logic [7:0]          row_o,             // its tap, of a row of taps the first
  output      logic [7:0]          column_o,
  output      logic [BankBits-1:0] word_base_o,       // of its first word
  output      logic                empty_o,           // the phase has no taps
  output      logic                first_o,           // of its phase
  // registers, stable from prepare_i on
  output      logic                weights_end_o,     // its weights are the block's last: phases without taps may follow
  output      logic                block_end_o,
  output      logic                tile_end_o,
  // blocks
  output      logic                blocks_done_o,
  output      logic [2:0]          quads_o,           // fours of output channels that this block has
  output      logic [18:0]         quads_left_o       // and that the tile's tensor has from here on
);
  localparam int Quads = OutLanes / 4;
  localparam int QuadBits = $clog2(Quads);

  logic [15:0] x_words, g_words, out_block, out_blocks;
  logic [7:0] kernel_h, kernel_w;
  logic channels;

  assign x_words    = tile_i[jb_pkg::X_WORDS_LSB+:16];
  assign g_words    = tile_i[jb_pkg::G_WORDS_LSB+:16];
  assign kernel_h   = tile_i[jb_pkg::KERNEL_H_LSB+:8];
  assign kernel_w   = tile_i[jb_pkg::KERNEL_W_LSB+:8];
  assign channels   = tile_i[jb_pkg::LANE_MODE_LSB];
  assign out_block  = tile_i[jb_pkg::OUT_BLOCK_LSB+:16];
  assign out_blocks = tile_i[jb_pkg::OUT_BLOCKS_LSB+:16];

  // ---- where the loops stand
  logic [15:0] block_q;     // from 0
  logic [1:0] phase_q;
  logic [15:0] group_q;
  logic [7:0] row_q, column_q;
  logic [BankBits-1:0] word_base_q;
  logic [18:0] quads_q;
  logic [15:0] fours, group_step;
  logic [7:0] row_step, column_step;
  logic column_end, row_end, group_end, phase_end, block_end;
  logic column_end_q, row_end_q, group_end_q;

  assign fours       = input_gradient_i ? g_words : {x_words[14:0], 1'b0};
  assign group_step  = channels ? 16'd3 : 16'd1;
  assign row_step    = phases_i ? 8'd2 : 8'd1;
  assign column_step = !channels ? 8'd3 : phases_i ? 8'd2 : 8'd1;
  assign left_o      = fours - group_q;
  assign empty_o     = phases_i && ({7'd0, phase_q[1]} >= kernel_h || {7'd0, phase_q[0]} >= kernel_w);
  assign column_end  = column_q + column_step >= kernel_w || empty_o;
  assign row_end     = row_q + row_step >= kernel_h || empty_o;
  assign group_end   = left_o <= group_step || empty_o;
  assign phase_end   = !phases_i || phase_q == 2'd3;
  assign block_end   = column_end && row_end && group_end && phase_end;
  assign first_o     = group_q == '0 && row_q == {7'd0, phase_q[1]} && column_q == {7'd0, phase_q[0]};

  assign phase_o       = phase_q;
  assign group_o       = group_q;
  assign row_o         = row_q;
  assign column_o      = column_q;
  assign word_base_o   = word_base_q;
  assign blocks_done_o = block_q == out_blocks;
  assign quads_left_o  = quads_q;
  assign quads_o       = quads_q > 19'(Quads) ? 3'(Quads) : quads_q[2:0];

  always_ff @(posedge clk_i) begin
    if (prepare_i) begin
      column_end_q  <= column_end;
      row_end_q     <= row_end;
      group_end_q   <= group_end;
      weights_end_o <= column_end && row_end && group_end
                       && (!phases_i || phase_q == {kernel_h != 8'd1, kernel_w != 8'd1});
      block_end_o   <= block_end;
      tile_end_o    <= block_end && block_q == out_blocks - 16'd1;
    end
  end

  // ---- counting
  logic [1:0] phase_next;
  logic [BankBits-1:0] word_step;

  assign phase_next = phase_q + 2'd1;

  // from one group of channels to the next: whole words of dz, halves of words of x
  always_comb begin
    if (input_gradient_i) word_step = channels ? g_quarter_i + (g_quarter_i << 1) : g_quarter_i;
    else if (channels) word_step = group_q[0] ? x_quarter_i << 1 : x_quarter_i;
    else word_step = group_q[0] ? x_quarter_i : '0;
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      block_q     <= '0;
      phase_q     <= '0;
      group_q     <= '0;
      row_q       <= '0;
      column_q    <= '0;
      word_base_q <= '0;
      quads_q     <= (input_gradient_i ? {2'd0, x_words, 1'b0} : {3'd0, g_words}) - 19'(19'(out_block) << QuadBits);
    end else if (count_i) begin
      column_q <= column_q + column_step;
      if (column_end_q) begin
        column_q <= {7'd0, phase_q[0]};
        row_q    <= row_q + row_step;
        if (row_end_q) begin
          row_q       <= {7'd0, phase_q[1]};
          group_q     <= group_q + group_step;
          word_base_q <= word_base_q + word_step;
          if (group_end_q) begin
            group_q     <= '0;
            word_base_q <= '0;
            phase_q     <= phases_i ? phase_next : 2'd0;
            row_q       <= phases_i ? {7'd0, phase_next[1]} : 8'd0;
            column_q    <= phases_i ? {7'd0, phase_next[0]} : 8'd0;
            if (block_end_o) block_q <= block_q + 16'd1;
          end
        end
      end
    end else if (block_take_i) begin
      quads_q <= quads_q - 19'(Quads);
    end
  end

  logic unused;
  assign unused = ^tile_i;
endmodule

`default_nettype wire
