// FIFO in block RAM: the read port is registered, and a shallow FIFO behind it hides its delay, so that a word leaves in
// every cycle. Holds Depth words in the memory and up to OutputDepth more. Proved in hw/formal.
`default_nettype none

module jb_fifo_bram #(
  parameter int Width = 64,
  parameter int Depth = 512  // a power of two, at least 4
) (
  input  wire logic             clk_i,
  input  wire logic             rst_ni,
  input  wire logic             valid_i,
  output      logic             ready_o,
  input  wire logic [Width-1:0] data_i,
  output      logic             valid_o,
  input  wire logic             ready_i,
  output      logic [Width-1:0] data_o
);
  localparam int AddressBits = $clog2(Depth);
  localparam int OutputDepth = 4;

  if (Depth < 4 || (1 << AddressBits) != Depth) begin : g_depth
    $error("jb_fifo_bram: Depth must be a power of two, at least 4");
  end

  (* ram_style = "block" *) logic [Width-1:0] memory[Depth];
  logic [AddressBits-1:0] write_q, read_q;
  logic [AddressBits:0] count_q;  // words written and not yet asked for
  logic [Width-1:0] word_q;
  logic word_valid_q;
  logic push, fetch, output_ready_unused;
  logic [2:0] output_count;

  assign push    = valid_i && ready_o;
  assign ready_o = !count_q[AddressBits];
  // One word may be on its way from the memory; the output FIFO must have room for it and for this one.
  assign fetch   = count_q != '0 && {1'b0, output_count} + {3'b000, word_valid_q} < 4'(OutputDepth);

  always_ff @(posedge clk_i) begin
    if (push) memory[write_q] <= data_i;
    if (fetch) word_q <= memory[read_q];
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q      <= '0;
      read_q       <= '0;
      count_q      <= '0;
      word_valid_q <= 1'b0;
    end else begin
      word_valid_q <= fetch;
      if (push) write_q <= write_q + 1'b1;
      if (fetch) read_q <= read_q + 1'b1;
      if (push && !fetch) count_q <= count_q + 1'b1;
      if (!push && fetch) count_q <= count_q - 1'b1;
    end
  end

  jb_fifo #(
    .Width(Width),
    .Depth(OutputDepth)
  ) u_output (
    .clk_i,
    .rst_ni,
    .valid_i(word_valid_q),
    .ready_o(output_ready_unused),
    .data_i (word_q),
    .valid_o,
    .ready_i,
    .data_o,
    .count_o(output_count)
  );

  logic unused;
  assign unused = output_ready_unused;
endmodule

`default_nettype wire
