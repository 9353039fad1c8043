// The halves of the partial sums: which one the tile at work adds to, and which ones still leave by the output path. An output block has a
// half, and so has a weight gradient that fits one; a larger one, or one of signs, takes both.
`default_nettype none

module jb_sequencer_halves #(
  parameter int PsumDepth = 1024
) (
  input  wire logic                         clk_i,
  input  wire logic                         rst_ni,
  // the tile
  input  wire logic [1023:0]                tile_i,
  input  wire logic                         weight_gradient_i,
  input  wire logic [$clog2(PsumDepth):0]   dw_block_i,       // words of a block of the weight gradient
  input  wire logic [$clog2(PsumDepth)-3:0] word_end_tap_i,   // weight gradient: the first tap behind the word at hand
  // jobs of the output path
  input  wire logic                         job_take_i,       // pulse: one is handed over
  input  wire logic                         job_end_i,        // it is the tile's last
  input  wire logic                         job_emit_i,       // sums leave with it, as they do with all but the last
  input  wire logic                         block_done_i,     // pulse: the output path has read all of the job before
  input  wire logic [$clog2(PsumDepth)-1:0] emitted_i,        // weight gradient in both halves: what lies below has been read
  // the halves
  output      logic                         half_o,           // at work
  output      logic                         both_o,           // the tile's weight gradient takes both, a register
  output      logic                         weight_output_o,  // a weight gradient in both is leaving
  output      logic                         room_o            // sums may be added
);
  localparam int PsumBits = $clog2(PsumDepth);

  logic [1:0] half_busy_q;
  logic running_both_q, running_emit_q, running_half_q;  // of the job that the output path has
  logic word_free_q;

  // A weight gradient that fits takes turns with the halves, as output blocks do. For a larger one, the accumulators of a word may be
  // begun anew as soon as the output path is past them.
  assign room_o = both_o ? half_busy_q == 2'b00 || word_free_q : !half_busy_q[half_o];

  always_ff @(posedge clk_i) begin
    both_o      <= weight_gradient_i && (tile_i[jb_pkg::OUT_BLOCKS_LSB+:16] != 16'd1
                                         || tile_i[jb_pkg::FLAGS_LSB+jb_pkg::FLAG_SELECTIVE]
                                         || dw_block_i > (PsumBits + 1)'(PsumDepth / 2));
    word_free_q <= weight_output_o && {1'b0, emitted_i[PsumBits-1:3]} >= word_end_tap_i;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      half_busy_q     <= 2'b00;
      half_o          <= 1'b0;
      weight_output_o <= 1'b0;
    end else begin
      if (block_done_i) begin
        if (running_both_q) begin
          half_busy_q     <= 2'b00;
          weight_output_o <= 1'b0;
        end else if (running_emit_q) begin
          half_busy_q[running_half_q] <= 1'b0;
        end
      end
      if (job_take_i && (job_emit_i || !job_end_i)) begin
        if (job_end_i && both_o) begin
          half_busy_q     <= 2'b11;
          weight_output_o <= 1'b1;
        end else begin
          half_busy_q[half_o] <= 1'b1;
          half_o              <= !half_o;
        end
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (job_take_i) begin
      running_both_q <= both_o && job_emit_i;
      running_emit_q <= job_emit_i;
      running_half_q <= half_o;
    end
  end

  logic unused;
  assign unused = ^{tile_i, emitted_i[2:0]};
endmodule

`default_nettype wire
