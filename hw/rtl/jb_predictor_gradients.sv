// A copy of the leading 10 bits of dz, written as dz is loaded: clamp((dz + 32) >> 6, -511, 511). Even and odd rows lie in a bank each,
// in the order of the load: image, pair of rows, column, word (4 channels), so that two rows' pixels can be read at one address.
`default_nettype none

module jb_predictor_gradients #(
  parameter int BankDepth = 512  // of the dz buffer; a half holds 8 * BankDepth words
) (
  input  wire logic                           clk_i,
  input  wire logic                           load_valid_i,
  input  wire logic                           load_half_i,
  input  wire logic                           load_first_i,  // the tile's first word
  input  wire logic                           load_start_i,  // a row's first word
  input  wire logic                           load_odd_i,    // of an odd row
  input  wire logic [63:0]                    load_data_i,
  // A word of an even row and that of the odd row behind it, 3 cycles after the address
  input  wire logic                           half_i,
  input  wire logic [$clog2(4*BankDepth)-1:0] address_i,
  output      logic [39:0]                    even_o,
  output      logic [39:0]                    odd_o
);
  localparam int AddressBits = $clog2(4 * BankDepth);

  logic [AddressBits-1:0] load_address_q, row_address_q, load_address;
  logic load_valid_q, load_half_q, load_odd_q;
  logic [39:0] load_word_q, even, odd;
  logic [AddressBits-1:0] address_q;
  logic half_q;

  // An odd row starts where the even one did, an even one behind what is there.
  always_comb begin
    load_address = load_address_q + 1'b1;
    if (load_start_i && load_odd_i) load_address = row_address_q;
    if (load_first_i) load_address = '0;
  end

  always_ff @(posedge clk_i) begin
    load_valid_q <= load_valid_i;
    load_half_q  <= load_half_i;
    load_odd_q   <= load_odd_i;
    if (load_valid_i) begin
      load_address_q <= load_address;
      if (load_start_i) row_address_q <= load_address;
    end
  end

  for (genvar c = 0; c < 4; c++) begin : gen_round
    logic signed [10:0] rounded;
    assign rounded = 11'($signed(load_data_i[16*c+6+:10])) + 11'(load_data_i[16*c+5]);
    always_ff @(posedge clk_i) begin
      if (rounded == 11'sd512) load_word_q[10*c+:10] <= 10'sd511;
      else if (rounded == -11'sd512) load_word_q[10*c+:10] <= -10'sd511;
      else load_word_q[10*c+:10] <= rounded[9:0];
    end
  end

  always_ff @(posedge clk_i) begin
    half_q    <= half_i;
    address_q <= address_i;
    even_o    <= even;
    odd_o     <= odd;
  end

  for (genvar slice = 0; slice < 5; slice++) begin : gen_slice  // 8 bits: with 4096 words one RAMB36 each
    jb_predictor_ram #(
      .Width(8),
      .Depth(8 * BankDepth)
    ) u_even (
      .clk_i,
      .write_i        (load_valid_q && !load_odd_q),
      .write_address_i({load_half_q, load_address_q}),
      .write_data_i   (load_word_q[8*slice+:8]),
      .read_i         (1'b1),
      .read_address_i ({half_q, address_q}),
      .read_data_o    (even[8*slice+:8])
    );

    jb_predictor_ram #(
      .Width(8),
      .Depth(8 * BankDepth)
    ) u_odd (
      .clk_i,
      .write_i        (load_valid_q && load_odd_q),
      .write_address_i({load_half_q, load_address_q}),
      .write_data_i   (load_word_q[8*slice+:8]),
      .read_i         (1'b1),
      .read_address_i ({half_q, address_q}),
      .read_data_o    (odd[8*slice+:8])
    );
  end

  logic unused;
  assign unused = ^load_data_i;
endmodule

`default_nettype wire
